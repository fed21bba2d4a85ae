"""The operators' page: queues, workers, sessions and dead letters as they are now, and what can be done about dead letters.

Facts of the system only. What tenants sent is not among them.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from console.pages import render, see
from console.routing import Access, Entry, Route
from console.state import console_of, gate_of, signed_in
from console.watching import REASONS, as_json, letter_as_json, used_view, view
from shared.errors import NotFound, NotRequeueable, StoreAway, Unavailable
from shared.log import get_logger
from shared.operations import LATEST, Operations

log = get_logger(__name__)

_PAGE = "/operator"
_LONGEST_START = 6
#: What a form brought about, told by the page that it leads to.
_DONE = {"requeued": "The job is back in its queue.", "deleted": "The dead letter is deleted."}


async def overview(request: web.Request) -> web.Response:
    """``GET /operator``: everything, with ``done`` for what a form brought about."""
    return await _page(request, 200, done=_DONE.get(request.query.get("done", ""), ""))


async def live(request: web.Request) -> web.Response:
    """``GET /operator/live``: the sections that change, for the page's script. The same facts for everybody who looks."""
    return await render(request, "operator/live.html", **await _everything(request))


async def facts(request: web.Request) -> web.Response:
    """``GET /operator/facts``: the same for programs, as JSON."""
    return _json(as_json(await _operations(request).facts()))


async def letters(request: web.Request) -> web.Response:
    """``GET /operator/dead-letters``: from ``start`` on, `LATEST` at a time, the latest first; JSON for who accepts nothing else."""
    start = _start(request)
    total, found = await _operations(request).dead_letters.listed(start, LATEST)
    if "text/html" in request.headers.get("Accept", "text/html"):
        return await render(request, "operator/letters.html", total=total, letters=found, start=start, step=LATEST, reasons=REASONS)
    return _json({"total": total, "start": start, "dead_letters": [letter_as_json(letter, obstacle) for letter, obstacle in found]})


async def requeue(request: web.Request) -> web.Response:
    """``POST /operator/dead-letters/{letter}/requeue``: back to its queue with its attempts forgotten and a new deadline."""
    name = request.match_info["letter"]
    try:
        letter = await _operations(request).dead_letters.requeue(name)
    except (NotFound, NotRequeueable) as error:
        return await _refused(request, 404 if isinstance(error, NotFound) else 409, error.message)
    except Unavailable as error:
        return await _refused(request, 503, error.message)
    log.info("audit.dead_letter_requeued", letter=name, service=letter.service, account=signed_in(request).id)
    return _back(request, "requeued")


async def delete(request: web.Request) -> web.Response:
    """``POST /operator/dead-letters/{letter}/delete``: forget it and its input; the job's failure stays."""
    name = request.match_info["letter"]
    try:
        deleted = await _operations(request).dead_letters.delete(name)
    except Unavailable as error:
        return await _refused(request, 503, error.message)
    if not deleted:
        return await _refused(request, 404, "There is no such dead letter any more.")
    log.info("audit.dead_letter_deleted", letter=name, account=signed_in(request).id)
    return _back(request, "deleted")


def _back(request: web.Request, done: str) -> web.Response:
    _operations(request).forget()
    return see(f"{_PAGE}?done={done}")


async def _refused(request: web.Request, status: int, reason: str) -> web.Response:
    _operations(request).forget()
    return await _page(request, status, refused=reason)


async def _page(request: web.Request, status: int, done: str = "", refused: str = "") -> web.Response:
    return await render(request, "operator/page.html", status, done=done, refused=refused, **await _everything(request))


async def _everything(request: web.Request) -> dict[str, Any]:
    facts, usage = await asyncio.gather(_operations(request).facts(), _usage(request))
    return {**view(facts), **usage}


async def _usage(request: web.Request) -> dict[str, Any]:
    try:
        found, total = await console_of(request).usage_page(1)
    except StoreAway:
        return {"used": None, "accounts_total": 0}
    return {"used": used_view(found), "accounts_total": total}


def _operations(request: web.Request) -> Operations:
    return gate_of(request).operations


def _start(request: web.Request) -> int:
    given = request.query.get("start", "0")
    return int(given) if given.isdecimal() and given.isascii() and len(given) <= _LONGEST_START else 0


def _json(document: dict[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")


ROUTES = [
    Route("GET", _PAGE, overview, Access.OPERATOR),
    Route("GET", f"{_PAGE}/live", live, Access.OPERATOR),
    Route("GET", f"{_PAGE}/facts", facts, Access.OPERATOR),
    Route("GET", f"{_PAGE}/dead-letters", letters, Access.OPERATOR),
    Route("POST", _PAGE + "/dead-letters/{letter}/requeue", requeue, Access.OPERATOR),
    Route("POST", _PAGE + "/dead-letters/{letter}/delete", delete, Access.OPERATOR),
]
NAVIGATION = [Entry(90, "Operator", _PAGE, Access.OPERATOR)]
