"""The dashboard of a stream: who passed by, who was interested, for how long and how pleased."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson
from aiohttp import hdrs, web

from analytics.metrics import Disclosure
from console.figures import DAYS, Figures, Span, for_charts, for_spreadsheet, read_figures, read_span
from console.pages import HEADERS, render
from console.routing import Route
from console.state import console_of, stream_of
from gateway.state import DATA
from shared.errors import InvalidParameter

_BASE = "/streams/{stream}/dashboard"


async def page(request: web.Request) -> web.Response:
    """``GET …/dashboard``: ``days``, or ``from`` and ``to``; ``by``; ``timezone``. What cannot be read is said, and seven days are shown."""
    error, status = "", 200
    try:
        span = read_span(request.query)
    except InvalidParameter as refused:
        error, status, span = refused.message, 400, read_span({})
    return await _rendered(request, "dashboard/page.html", span, status, error=error)


async def live(request: web.Request) -> web.Response:
    """``GET …/dashboard/live``: the figures alone, for the page's script."""
    return await _rendered(request, "dashboard/figures.html", read_span(request.query))


async def export(request: web.Request) -> web.Response:
    """``GET …/dashboard/export``: the buckets as CSV (RFC 4180, UTF-8)."""
    span = read_span(request.query)
    text = io.StringIO()
    csv.writer(text).writerows(for_spreadsheet(await _figures(request, span)))
    name = f"audience-{span.first.isoformat()}-{span.last.isoformat()}.csv"
    headers = {**HEADERS, hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"'}
    return web.Response(text=text.getvalue(), content_type="text/csv", charset="utf-8", headers=headers)


async def _figures(request: web.Request, span: Span) -> Figures:
    stream = stream_of(request)
    disclosure = Disclosure(stream.off, console_of(request).settings.smallest_group)
    return await read_figures(request.app[DATA].audience, stream.client_id, span, disclosure)


async def _rendered(request: web.Request, template: str, span: Span, status: int = 200, **values: Any) -> web.Response:
    stream, figures = stream_of(request), await _figures(request, span)
    address = _BASE.replace("{stream}", stream.client_id)
    query = f"from={span.first.isoformat()}&to={span.last.isoformat()}&by={span.size[3:]}&timezone={span.zone_name}"
    return await render(
        request,
        template,
        status,
        stream=stream,
        figures=figures,
        span=span,
        charts=orjson.dumps(for_charts(figures)).decode(),
        choices=DAYS,
        address=address,
        query=query,
        **values,
    )


ROUTES = [Route("GET", _BASE, page), Route("GET", f"{_BASE}/live", live), Route("GET", f"{_BASE}/export", export)]
