"""The playground: every service tried with a picture, a sound, a webcam or a microphone, and the line that does the same in a terminal.

The page's scripts are a client of the API as any other, with the credentials of the account's own stream.
"""

from __future__ import annotations

import orjson
from aiohttp import web

from console.pages import HEADERS, render
from console.routing import Entry, Route
from console.state import console_of, gate_of, gate_url, signed_in, stream_of
from shared.errors import NotFound


async def page(request: web.Request) -> web.Response:
    """``GET /playground``: with ``stream`` and ``service`` to begin with."""
    streams = await console_of(request).accounts.streams.of(signed_in(request).email)
    wanted = request.query.get("stream", "")
    stream = next((one for one in streams if one.client_id == wanted), streams[0] if streams else None)
    catalog = gate_of(request).offers.without(stream.off if stream else ())
    services = [{"name": kind.name, "version": kind.version, "about": kind.description().splitlines()[0]} for kind in catalog.values()]
    return await render(
        request,
        "playground.html",
        streams=streams,
        stream=stream,
        services=services,
        service=request.query.get("service", "face_detection"),
    )


async def access(request: web.Request) -> web.Response:
    """``GET /playground/{stream}/access``: what the scripts need to be a client of the API."""
    secret = await console_of(request).accounts.streams.reveal(stream_of(request))
    if secret is None:
        raise NotFound("there is no such stream")
    body = {"client_id": secret.client_id, "access_token": secret.access_token, "gate": gate_url(request)}
    return web.Response(body=orjson.dumps(body), content_type="application/json", charset="utf-8", headers=HEADERS)


ROUTES = [Route("GET", "/playground", page), Route("GET", "/playground/{stream}/access", access)]
NAVIGATION = [Entry(20, "Playground", "/playground")]
