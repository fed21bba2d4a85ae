"""Webhooks as their stream's owner sees them: the signing secret, what was delivered, and which receivers want nothing any more."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.http.parsing import read_document
from gateway.routes.services import json_response
from gateway.state import GATE
from shared.errors import InvalidParameter, NotFound
from webhooks.egress import MOST_CHARACTERS
from webhooks.model import DeliveryState, Disabled, Listed
from webhooks.signing import shown

_LISTED = 100


async def overview(request: web.Request) -> web.Response:
    """``GET /webhooks``: the secret that verifies signatures, the latest deliveries, and the receivers that answered 410."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    hooks, log = gate.webhooks, gate.webhooks.outbox.log
    generation, _ = await hooks.outbox.generations.of(tenant.id)
    return json_response(
        {
            "secret": shown(hooks.secrets.of(tenant.id, generation)),
            "deliveries": [_told(one) for one in await log.latest(tenant.id, _LISTED)],
            "disabled": [_disabled(one) for one in await log.disabled(tenant.id, _LISTED)],
        }
    )


async def change_secret(request: web.Request) -> web.Response:
    """``POST /webhooks/secret``: a new secret. For a while messages are signed with the one before too."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    now = time.time()
    generation = await gate.webhooks.outbox.generations.next(tenant.id, int(now * 1000))
    until = _moment(int((now + gate.settings.webhook_old_secret_seconds) * 1000))
    return json_response({"secret": shown(gate.webhooks.secrets.of(tenant.id, generation)), "previous_until": until})


async def enable(request: web.Request) -> web.Response:
    """``POST /webhooks/enable`` with ``url``: send to a receiver again that answered 410."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    url = (await read_document(request, gate.limits)).parameters.get("url")
    if not isinstance(url, str) or not url or len(url) > MOST_CHARACTERS:
        raise InvalidParameter("url: the address of the receiver", parameter="url")
    if not await gate.webhooks.outbox.log.enable(tenant.id, url):
        raise NotFound("this receiver is not disabled")
    return json_response({"url": url, "enabled": True})


def _told(one: Listed) -> dict[str, Any]:
    told: dict[str, Any] = {"url": one.url, "job": one.job_url, "state": one.state, "failures": one.attempts}
    if one.state is DeliveryState.DUE:
        told["next_at"] = _moment(one.next_at)
    if one.status is not None:
        told["status"] = one.status
    if one.error is not None:
        told["error"] = one.error
    return told


def _disabled(one: Disabled) -> dict[str, Any]:
    return {"url": one.url, "since": _moment(one.since)}


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


ROUTES = [
    web.get("/webhooks", overview),
    web.post("/webhooks/secret", change_secret),
    web.post("/webhooks/enable", enable),
]
