"""What a worker tells its orchestrator: /healthz (alive), /readyz (the broker delivers to it), /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from shared import metrics
from shared.errors import PerceptionError


@asynccontextmanager
async def serve_health(host: str, port: int, verify: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Serve until the block is left; nothing at all when ``port`` is 0. ``verify`` raises while the worker is not ready."""
    if not port:
        yield
        return

    async def ready(request: web.Request) -> web.Response:
        try:
            await verify()
        except PerceptionError as error:
            return web.json_response({"status": "unavailable", "code": error.code, "error": error.message}, status=503)
        return web.json_response({"status": "ready"})

    async def alive(request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def counted(request: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/healthz", alive), web.get("/readyz", ready), web.get("/metrics", counted)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
