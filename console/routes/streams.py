"""The streams of an account: added, renamed, shown with their credentials, deleted."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from accounts.errors import NameInvalid, PlanUnknown, SecretKeyChanged, StreamLimitReached
from accounts.model import Plan, to_plan
from console.pages import render, see
from console.routing import Entry, Route
from console.snippets import snippets_for
from console.state import console_of, form_of, gate_url, has_page, is_demo, signed_in, stream_of
from console.usage import bar_of, plan_in_words
from shared.errors import NotFound, SignedOut
from shared.log import get_logger
from shared.privacy import ANALYSES, Analysis

log = get_logger(__name__)

_GONE = "there is no such stream"
#: What a form brought about, told by the page that it leads to.
_DONE = {
    "renamed": "The name is changed.",
    "rotated": "This is the new access token. The old one is void: other gateways notice within a minute.",
    "privacy": "The analyses are set. Gateways take them up within a minute.",
}
#: The analyses of people that can be switched off, and what they find out.
_ANALYSES: dict[Analysis, str] = {
    "age": "how old somebody looks",
    "gender": "female or male",
    "expression": "what a face expresses, and the satisfaction made of it",
    "identification": "who of an album it is",
}
_DASHBOARD = "/streams/{stream}/dashboard"


async def overview(request: web.Request) -> web.Response:
    """``GET /streams``: each with what was used of the plan; the account's whole where all streams share it."""
    state, account = console_of(request), signed_in(request)
    found = await state.accounts.ledger.of_account(account.id, time.time())
    if found is None:
        raise SignedOut
    most = (await state.accounts.plans.limits())[account.plan].streams
    usage, shared = found.usage, found.usage.allowance.scope == "account"
    return await render(
        request,
        "streams.html",
        streams=[(one.stream, None if shared else bar_of(usage.allowance, one.used, usage.renewed)) for one in found.streams],
        whole=bar_of(usage.allowance, usage.used, usage.renewed) if shared else None,
        full=most is not None and len(found.streams) >= most,
        dashboard=has_page(request, _DASHBOARD),
    )


async def new_form(request: web.Request) -> web.Response:
    """``GET /streams/new``, and ``GET /subscribe`` as it was called in 2018."""
    return await _new_page(request)


async def _new_page(request: web.Request, status: int = 200, *, error: str = "", name: str = "") -> web.Response:
    limits = await console_of(request).accounts.plans.limits()
    plans = [(plan, plan_in_words(limits[plan])) for plan in Plan]
    return await render(request, "stream_new.html", status, error=error, name=name, plans=plans)


async def add(request: web.Request) -> web.Response:
    """``POST /streams/new``: ``name`` and ``plan``, which is the one that the account has."""
    form, account = form_of(request), signed_in(request)
    name = form.get("name", "")
    try:
        if to_plan(form.get("plan", account.plan.value)) is not account.plan:
            return await _new_page(request, 400, error=f"Your account has the plan {account.plan.value}.", name=name[:100])
        secret = await console_of(request).accounts.streams.add(account.email, name)
    except (NameInvalid, PlanUnknown, StreamLimitReached) as error:
        return await _new_page(request, 400, error=str(error), name=name[:100])
    log.info("audit.stream_added", account=account.id, stream=secret.client_id)
    return see(f"/streams/{secret.client_id}")


async def show(request: web.Request) -> web.Response:
    """``GET /streams/{stream}``: what there is to know and to change, but no secret."""
    return await _stream_page(request)


async def credentials(request: web.Request) -> web.Response:
    """``GET /streams/{stream}/credentials``: the page with client_id and access_token in it, and lines to paste."""
    stream = stream_of(request)
    try:
        secret = await console_of(request).accounts.streams.reveal(stream)
    except SecretKeyChanged:
        return await _stream_page(request, error=f"{SecretKeyChanged.__doc__} Make a new access token to go on.")
    if secret is None:
        raise NotFound(_GONE)
    log.info("audit.credentials_shown", account=stream.account, stream=stream.client_id)
    return await _stream_page(request, secret=secret, snippets=snippets_for(gate_url(request), secret))


async def _stream_page(request: web.Request, status: int = 200, **values: Any) -> web.Response:
    stream, state = stream_of(request), console_of(request)
    usage = await state.accounts.ledger.of_stream(stream.client_id, time.time())
    if usage is None:
        raise NotFound(_GONE)
    given: dict[str, Any] = {
        "secret": None,
        "snippets": [],
        "error": "",
        "done": _DONE.get(request.query.get("done", ""), ""),
        "demo": is_demo(signed_in(request)),
        "dashboard": has_page(request, _DASHBOARD),
        "usage": bar_of(usage.allowance, usage.used, usage.renewed),
        "shared": usage.allowance.scope == "account",
        "analyses": [(name, text, name not in stream.off) for name, text in _ANALYSES.items()],
    }
    return await render(request, "stream.html", status, stream=stream, **{**given, **values})


async def rename(request: web.Request) -> web.Response:
    """``POST /streams/{stream}/rename``: ``name``."""
    stream = stream_of(request)
    try:
        await console_of(request).accounts.streams.rename(stream, form_of(request).get("name", ""))
    except NameInvalid as error:
        return await _stream_page(request, 400, error=str(error))
    return see(f"/streams/{stream.client_id}?done=renamed")


async def rotate(request: web.Request) -> web.Response:
    """``POST /streams/{stream}/rotate``: a new access token; the old one is void in this process at once, in others within a minute."""
    stream, state = stream_of(request), console_of(request)
    if await state.accounts.streams.rotate(stream) is None:
        raise NotFound(_GONE)
    state.forget_credentials()
    log.info("audit.credentials_rotated", account=stream.account, stream=stream.client_id)
    return see(f"/streams/{stream.client_id}/credentials?done=rotated")


async def privacy(request: web.Request) -> web.Response:
    """``POST /streams/{stream}/privacy``: ``analysis``, once for each that is on; all others are off from now on."""
    stream, state = stream_of(request), console_of(request)
    on = form_of(request).getall("analysis", [])
    await state.accounts.streams.set_off(stream, [name for name in ANALYSES if name not in on])
    state.forget_credentials()
    log.info("audit.privacy_set", account=stream.account, stream=stream.client_id, on=[name for name in ANALYSES if name in on])
    return see(f"/streams/{stream.client_id}?done=privacy")


async def delete(request: web.Request) -> web.Response:
    """``POST /streams/{stream}/delete``: ``name``, written again to be sure. Credentials and visits go with the stream."""
    stream, state = stream_of(request), console_of(request)
    if form_of(request).get("name", "").strip() != stream.name:
        return await _stream_page(request, 400, error="To delete the stream, write its name as it is above.")
    await state.accounts.streams.delete(stream)
    state.forget_credentials()
    log.info("audit.stream_deleted", account=stream.account, stream=stream.client_id)
    return see("/streams")


ROUTES = [
    Route("GET", "/streams", overview),
    Route("GET", "/streams/new", new_form),
    Route("GET", "/subscribe", new_form),
    Route("POST", "/streams/new", add),
    Route("GET", "/streams/{stream}", show),
    Route("GET", "/streams/{stream}/credentials", credentials),
    Route("POST", "/streams/{stream}/rename", rename),
    Route("POST", "/streams/{stream}/privacy", privacy),
    Route("POST", "/streams/{stream}/rotate", rotate),
    Route("POST", "/streams/{stream}/delete", delete),
]
NAVIGATION = [Entry(10, "Streams", "/streams")]
