"""What accounts used of their plans, for operators: seconds of stream, nothing of what was sent in them."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from accounts.usage import AccountUsage
from console.pages import render
from console.routing import Access, Route
from console.state import USAGE_PAGE, console_of
from console.watching import used_view

_LONGEST_PAGE = 6


async def usage(request: web.Request) -> web.Response:
    """``GET /operator/usage``: ``page`` (from 1) of all accounts, the oldest first; JSON for who accepts nothing else."""
    page = _page_of(request)
    found, total = await console_of(request).usage_page(page)
    if "text/html" in request.headers.get("Accept", "text/html"):
        return await render(request, "operator/usage.html", used=used_view(found), total=total, page=page, size=USAGE_PAGE)
    return web.Response(
        body=orjson.dumps({"total": total, "page": page, "accounts": [_as_json(one) for one in found]}), content_type="application/json"
    )


def _as_json(one: AccountUsage) -> dict[str, Any]:
    """``used`` and ``allowed`` in seconds of the present period; ``allowed`` is null without a limit."""
    allowance = one.usage.allowance
    return {
        "account": one.account.email,
        "plan": one.account.plan.value,
        "used": one.usage.used,
        "allowed": allowance.seconds,
        "period": allowance.period,
        "scope": allowance.scope,
        "renewed": one.usage.renewed.isoformat(),
    }


def _page_of(request: web.Request) -> int:
    given = request.query.get("page", "1")
    return max(1, int(given)) if given.isdecimal() and given.isascii() and len(given) <= _LONGEST_PAGE else 1


ROUTES = [Route("GET", "/operator/usage", usage, Access.OPERATOR)]
