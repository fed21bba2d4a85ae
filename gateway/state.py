"""What the handlers of a gateway share, put together once by `gateway.app`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from accounts.credentials import Tenant
from accounts.store import Accounts
from analytics.queries import Audience
from analytics.tokens import DataTokens
from gateway.http.auth import Authenticator, FailureLimit
from gateway.http.limits import RequestLimits, TrustedProxies
from gateway.jobs.announced import Announced
from gateway.jobs.availability import Availability
from gateway.jobs.offers import Offers
from gateway.jobs.submit import Submitter
from gateway.streams.hub import StreamHub
from shared.errors import NotFound
from shared.job_ids import JobIds
from shared.operations import Operations
from shared.ports import Broker, Stores
from shared.settings import Settings
from webhooks.dispatcher import WebhookDispatcher
from workers.catalog import ServiceType


@dataclass(frozen=True, slots=True)
class Gate:
    """The parts of a running gateway."""

    settings: Settings
    offers: Offers
    broker: Broker
    stores: Stores
    authenticate: Authenticator
    availability: Availability
    submitter: Submitter
    operations: Operations
    announced: Announced
    ids: JobIds
    limits: RequestLimits
    proxies: TrustedProxies
    streams: StreamHub
    webhooks: WebhookDispatcher


@dataclass(frozen=True, slots=True)
class DataFace:
    """The parts of the data API: accounts to prove oneself to, tokens, and the visits. ``questions``: logins that are looked up at a time."""

    accounts: Accounts
    tokens: DataTokens
    audience: Audience
    failures: FailureLimit
    questions: asyncio.Semaphore


DATA: web.AppKey[DataFace] = web.AppKey("data", DataFace)
GATE: web.AppKey[Gate] = web.AppKey("gate", Gate)


def base_url(request: web.Request) -> str:
    """Absolute URLs in answers start with this, without a slash at the end."""
    gate = request.app[GATE]
    public = gate.settings.public_url
    return public.rstrip("/") if public else f"{gate.proxies.scheme_of(request)}://{request.host}"


def service_of(request: web.Request, tenant: Tenant) -> ServiceType:
    """The service that the address names, as the tenant is offered it. Raises `NotFound`."""
    name, version = request.match_info["name"], request.match_info["version"]
    if not (version.isdecimal() and len(version) < 6 and version == str(int(version))):
        raise NotFound(f"there is no service {name} version {version}")
    return request.app[GATE].offers.service(tenant, name, int(version))
