"""What orchestrators and Prometheus ask; no credentials, nothing about tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from gateway.routes.services import json_response
from gateway.state import GATE
from shared import metrics
from shared.errors import PerceptionError

#: What the process's root opened, by name: each raises unless what is behind it answers.
Pings = Mapping[str, Callable[[], Awaitable[None]]]
PINGS: web.AppKey[Pings] = web.AppKey("pings", dict)


async def alive(request: web.Request) -> web.Response:
    """``GET /healthz``: the process runs."""
    return json_response({"status": "alive"})


async def ready(request: web.Request) -> web.Response:
    """``GET /readyz``: everything that this process opened answers; 503 names what does not."""
    parts = await _parts(request.app[PINGS])
    well = all(answer == "ok" for answer in parts.values())
    return json_response({"status": "ready" if well else "unavailable", "parts": parts}, 200 if well else 503)


async def exposition(request: web.Request) -> web.Response:
    """``GET /metrics``: what this process counted, and what is so now."""
    parts, _ = await asyncio.gather(_parts(request.app[PINGS]), request.app[GATE].operations.export())
    for part, answer in parts.items():
        metrics.PART_UP.labels(part).set(answer == "ok")
    return web.Response(body=metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE})


async def _parts(pings: Pings) -> dict[str, str]:
    """``ok``, or what is wrong, of each part."""
    return dict(zip(pings, await asyncio.gather(*(_state(ping) for ping in pings.values())), strict=True))


async def _state(ping: Callable[[], Awaitable[None]]) -> str:
    try:
        await ping()
    except PerceptionError as error:
        return error.message
    return "ok"


ROUTES = [
    web.get("/healthz", alive),
    web.get("/readyz", ready),
    web.get("/metrics", exposition),
]
