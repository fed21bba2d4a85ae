"""The data API: audience numbers by buckets of time, and the visits that they are made of."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import hdrs, web

from analytics.metrics import METRICS, Disclosure, JsonObject
from analytics.periods import PAGE, SIZES, Size, buckets, instant, milliseconds, zone
from analytics.tokens import Claims
from analytics.totals import DEFINITION, LOOKED_MS, PASSING_MS, STOPPED_MS
from gateway.routes.services import json_response
from gateway.state import DATA, GATE, base_url
from shared.errors import InvalidParameter, TokenRefused
from shared.visits import Visit

_ENTITIES = ("metrics", "from_date", "to_date", "time", "page", "timezone")
_VISITS = ("from_date", "to_date", "page")


async def entities(request: web.Request) -> web.Response:
    """``GET /api/1/entities``: metrics of the stream that the token is for, by hours, days or altogether."""
    claims, disclosure = await _claims(request)
    given = _query(request, _ENTITIES)
    metrics = _metrics(given.get("metrics"))
    begin, end = _span(given)
    size = _size(given.get("time", "global"))
    where = zone(given.get("timezone", "UTC"))
    page = buckets(begin, end, size, where, _page(given))
    audience = request.app[DATA].audience
    senior_age = await audience.senior_age()
    totals = await audience.totals(claims.stream, page.edges, senior_age)
    answer = {
        "entities": {key: {name: disclosure.metric(name, total) for name in metrics} for key, total in zip(page.keys, totals, strict=True)},
        **_place(request, begin, end, page.total, page.pages, _page(given)),
        "time": size,
        "definition": DEFINITION,
        "senior_age": senior_age,
        **_told(disclosure),
    }
    return json_response(answer)


async def visits(request: web.Request) -> web.Response:
    """``GET /api/1/visits``: the visits themselves, by their beginning: every number of the metrics can be recomputed from them."""
    claims, disclosure = await _claims(request)
    given = _query(request, _VISITS)
    begin, end = _span(given)
    first, last, number = milliseconds(begin), milliseconds(end), _page(given)
    audience = request.app[DATA].audience
    total = await audience.count(claims.stream, first, last)
    pages = max(1, -(-total // PAGE))
    if number > pages:
        raise InvalidParameter(f"page: must be between 1 and {pages}", parameter="page")
    found = await audience.visits(claims.stream, first, last, offset=(number - 1) * PAGE, limit=PAGE)
    place = _place(request, begin, end, total, pages, number)
    shown = [_visit(disclosure.visit(one)) for one in found]
    return json_response({"visits": shown, **place, "definition": DEFINITION, **_told(disclosure)})


def _told(disclosure: Disclosure) -> JsonObject:
    return {"off": list(disclosure.off), "smallest_group": disclosure.smallest}


async def _claims(request: web.Request) -> tuple[Claims, Disclosure]:
    """Whose data it is, and what is shown of it. Raises `TokenRefused`."""
    data = request.app[DATA]
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenRefused("A token from /api-token-authstream/ is needed, as Authorization: Bearer TOKEN")
    claims = data.tokens.read(token.strip())
    proof = await data.accounts.credentials.proof_of(claims.stream)
    if proof is None or not claims.hold(proof):
        raise TokenRefused("The stream's credentials were changed after this token was made; get another one")
    return claims, Disclosure(proof.off, request.app[GATE].settings.smallest_group)


def _query(request: web.Request, known: tuple[str, ...]) -> dict[str, str]:
    for name in request.query:
        if name not in known:
            raise InvalidParameter(f"{name}: not a parameter; there are {', '.join(known)}", parameter=name)
        if len(request.query.getall(name)) > 1:
            raise InvalidParameter(f"{name}: given more than once", parameter=name)
    return dict(request.query)


def _metrics(text: str | None) -> list[str]:
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if not names:
        raise InvalidParameter(f"metrics: needed, separated by commas, of {', '.join(METRICS)}", parameter="metrics")
    for name in names:
        if name not in METRICS:
            raise InvalidParameter(f"metrics: {name[:50]!r} is none of {', '.join(METRICS)}", parameter="metrics")
    return list(dict.fromkeys(names))


def _span(given: dict[str, str]) -> tuple[datetime, datetime]:
    if "from_date" not in given:
        raise InvalidParameter("from_date: needed, a date as in ISO 8601", parameter="from_date")
    begin = instant(given["from_date"], "from_date")
    end = instant(given["to_date"], "to_date") if "to_date" in given else datetime.now(UTC).replace(microsecond=0)
    if end < begin:
        raise InvalidParameter("from_date: must not be after to_date", parameter="from_date")
    return begin, end


def _size(text: str) -> Size:
    for size in SIZES:
        if text == size:
            return size
    raise InvalidParameter(f"time: must be one of {', '.join(SIZES)}", parameter="time")


def _page(given: dict[str, str]) -> int:
    text = given.get("page", "1")
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        raise InvalidParameter("page: must be a whole number from 1 on", parameter="page")
    return int(text)


def _place(request: web.Request, begin: datetime, end: datetime, total: int, pages: int, page: int) -> JsonObject:
    """Where in the whole this page stands. ``to_date`` is in the link too: the next page must not be of another now."""
    following = ""
    if page < pages:
        query = {**request.query, "from_date": begin.isoformat(), "to_date": end.isoformat(), "page": str(page + 1)}
        following = f"{base_url(request)}{request.rel_url.with_query(query)}"
    return {
        "from_date": begin.isoformat(),
        "to_date": end.isoformat(),
        "total_results": total,
        "nb_of_pages": pages,
        "page": page,
        "next_page": following,
    }


def _visit(visit: Visit) -> JsonObject:
    return {
        "id": visit.id,
        "started": datetime.fromtimestamp(visit.started, UTC).isoformat(timespec="milliseconds"),
        "view_seconds": visit.view_seconds,
        "stop_seconds": visit.stop_seconds,
        "attention_seconds": visit.attention_seconds,
        "age": visit.age,
        "gender": visit.gender,
        "happiness": visit.happiness,
        "direction": visit.direction,
        "closed": visit.closed,
        "passing_by": visit.view_seconds * 1000 >= PASSING_MS,
        "interested": visit.stop_seconds * 1000 >= STOPPED_MS and visit.attention_seconds * 1000 > LOOKED_MS,
    }


ROUTES = [web.get("/api/1/entities", entities), web.get("/api/1/visits", visits)]
