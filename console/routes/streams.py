"""The streams of an account: added, renamed, shown with their credentials, deleted."""

from __future__ import annotations

from aiohttp import web

from console.pages import render
from console.routing import Entry, Route
from console.state import console_of, signed_in


async def overview(request: web.Request) -> web.Response:
    """``GET /streams``."""
    found = await console_of(request).accounts.streams(signed_in(request).email)
    return await render(request, "streams.html", streams=found)


ROUTES = [Route("GET", "/streams", overview)]
NAVIGATION = [Entry(10, "Streams", "/streams")]
