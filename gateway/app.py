"""The gateway put together: routes as data, one middleware, and what runs beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import ModuleType

from aiohttp import web

from accounts.keys import secret_of
from accounts.store import Accounts
from gateway.http.auth import Authenticator
from gateway.http.limits import RequestLimits, TrustedProxies
from gateway.http.middleware import RETRY_AFTER_SECONDS, middleware
from gateway.jobs.announced import Announced
from gateway.jobs.availability import Availability
from gateway.jobs.background import DeadLetterKeeper, SessionKeeper
from gateway.jobs.documents import expired_or_lost, job_document
from gateway.jobs.metering import Metering
from gateway.jobs.offers import Offers
from gateway.jobs.submit import Submitter
from gateway.routes import blobs, health, jobs, reference, services, speech, streams, tokens
from gateway.routes import data as data_routes
from gateway.routes import webhooks as webhook_routes
from gateway.state import DATA, GATE, DataFace, Gate
from gateway.streams.hub import StreamHub
from shared.errors import PerceptionError
from shared.job_ids import JobIds
from shared.log import get_logger
from shared.operations import Operations
from shared.ports import Broker, Stores
from shared.settings import Settings, SettingsError
from webhooks.completions import JobViews
from webhooks.dispatcher import WebhookDispatcher
from webhooks.outbox import Outbox
from webhooks.signing import Secrets
from workers.catalog import Catalog

log = get_logger(__name__)


def build_app(gate: Gate, pings: health.Pings, data: DataFace | None = None) -> web.Application:
    """The web application over a gate's parts, with the faces that the settings name; opens nothing.

    Without ``data`` there is no data API.
    """
    faces = _faces(gate.settings)
    app = web.Application(middlewares=[middleware])
    app[GATE] = gate
    app[RETRY_AFTER_SECONDS] = gate.settings.retry_after_seconds
    app[health.PINGS] = pings
    modules: list[ModuleType] = [health]
    if "gate" in faces:
        modules += [services, jobs, blobs, speech, streams, webhook_routes, reference]
        app.on_shutdown.append(_stop_streams)
    if data is not None:
        app[DATA] = data
        modules += [tokens] if "console" in faces else []
        modules += [data_routes] if "data" in faces else []
    for module in modules:
        app.add_routes(module.ROUTES)
    return app


async def _stop_streams(app: web.Application) -> None:
    """Streams have no end of their own that shutdown could wait for."""
    app[GATE].streams.stop()


def _faces(settings: Settings) -> set[str]:
    faces = {face.strip() for face in settings.faces.split(",")}
    if not faces <= {"gate", "console", "data"}:
        raise SettingsError("SENSORIUM_FACES: gate, console and data, separated by commas")
    return faces


@asynccontextmanager
async def open_gate(
    settings: Settings,
    catalog: Catalog,
    broker: Broker,
    stores: Stores,
    accounts: Accounts,
    ids: JobIds,
    known_faults: Mapping[str, PerceptionError] | None = None,
) -> AsyncIterator[Gate]:
    """A gate whose keepers run while the block lasts. ``known_faults``: services that this process could not load."""
    availability = Availability(broker, catalog, settings.worker_grace_seconds, known_faults)
    metering = Metering(stores.meter, accounts.ledger, settings)
    outbox, secrets = Outbox(accounts.database), Secrets(secret_of(settings))
    views = JobViews(job_document, expired_or_lost)
    webhooks = WebhookDispatcher(settings, outbox, secrets, stores, views)
    submitter = Submitter(settings, broker, stores, availability, ids, metering, webhooks)
    proxies = _proxies(settings)
    async with AsyncExitStack() as stack:
        letters = DeadLetterKeeper(settings, broker, stores)
        stack.push_async_callback(letters.stop)
        await availability.ask()
        sessions = SessionKeeper(settings, broker, stores, ids)
        stack.push_async_callback(webhooks.stop)
        webhooks.start().add_done_callback(_tell_failure)
        # a broker that is away holds `letters.start` up, and must not hold the gateway up
        stack.push_async_callback(metering.save_last)
        for keeper in (letters.start(), availability.keep_asking(), sessions.keep_closing(), metering.keep_saving()):
            task = asyncio.create_task(keeper)
            task.add_done_callback(_tell_failure)
            stack.callback(task.cancel)
        yield Gate(
            settings=settings,
            offers=Offers(catalog),
            broker=broker,
            stores=stores,
            authenticate=_authenticator(settings, accounts, proxies),
            availability=availability,
            submitter=submitter,
            announced=Announced(stores.workers, settings.facts_seconds),
            operations=Operations(settings, broker, stores, catalog, availability.unserved),
            ids=ids,
            limits=RequestLimits.from_settings(settings),
            proxies=proxies,
            streams=StreamHub(settings),
            webhooks=webhooks,
        )


def _authenticator(settings: Settings, accounts: Accounts, proxies: TrustedProxies) -> Authenticator:
    fresh, stale = settings.credentials_seconds, settings.credentials_stale_seconds
    return Authenticator(accounts.credentials, cache_seconds=fresh, stale_seconds=stale, proxies=proxies)


def _proxies(settings: Settings) -> TrustedProxies:
    try:
        return TrustedProxies(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"SENSORIUM_TRUSTED_PROXIES: {error}") from None


def _tell_failure(task: asyncio.Task[None]) -> None:
    """A keeper never ends by itself; one that does is a fault of the house that must be seen."""
    if not task.cancelled() and task.exception() is not None:
        log.error("keeper.failed", exc_info=task.exception())
