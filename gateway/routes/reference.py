"""``/docs``: the API reference, which a browser makes of ``/openapi.json``. Everything that it needs comes from here.

Swagger UI is kept as its package has it, compressed; `SOURCES` says of which release. `NOTICE` names its licence.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

from aiohttp import hdrs, web

from gateway.state import GATE
from shared.errors import NotFound

FOLDER = Path(__file__).parent.parent / "reference"
PACKAGE = "swagger-ui-dist 5.35.0"
#: Files of the package (of the registry of npm), with their SHA-256 as they are there.
SOURCES = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}
#: Nothing from elsewhere and nothing inline; pictures are written into the style sheet.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    hdrs.VARY: hdrs.ACCEPT_ENCODING,
}


async def page(request: web.Request) -> web.Response:
    """``GET /docs``: the page. The browser asks for the credentials, and sends them with whatever is tried out."""
    return await _file(request, "page.html")


async def file(request: web.Request) -> web.Response:
    """``GET /docs/{file}``: what the page is made of."""
    await request.app[GATE].authenticate(request)  # also for what there is not, as everywhere
    name = request.match_info["file"]
    if name not in (*SOURCES, "page.js"):
        raise NotFound("the page has no such file")
    return await _file(request, name)


async def _file(request: web.Request, name: str) -> web.Response:
    await request.app[GATE].authenticate(request)
    compressed = _compressed(name)
    headers = {**_HEADERS, hdrs.CONTENT_TYPE: f"{_TYPES[Path(name).suffix]}; charset=utf-8"}
    if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        return web.Response(body=compressed, headers={**headers, hdrs.CONTENT_ENCODING: "gzip"})
    return web.Response(body=gzip.decompress(compressed), headers=headers)


@cache
def _compressed(name: str) -> bytes:
    stored = FOLDER / f"{name}.gz"
    return stored.read_bytes() if stored.exists() else gzip.compress((FOLDER / name).read_bytes(), mtime=0)


ROUTES = [web.get("/docs", page), web.get("/docs/{file}", file)]
