"""The account's own page: its password, its other browsers, and its end."""

from __future__ import annotations

import math

from aiohttp import hdrs, web

from accounts.errors import PasswordRefused
from accounts.guessing import Limit
from accounts.model import email_key
from console import cookies
from console.pages import render, see
from console.routing import Route
from console.state import LOGIN, address_of, console_of, form_of, is_demo, signed_in
from shared.errors import RateLimited
from shared.log import get_logger

log = get_logger(__name__)


async def show(request: web.Request) -> web.Response:
    """``GET /account``."""
    return await _page(request)


async def _page(request: web.Request, status: int = 200, *, change_error: str = "", delete_error: str = "") -> web.Response:
    return await render(
        request,
        "account.html",
        status,
        change_error=change_error,
        delete_error=delete_error,
        changed="changed" in request.query,
        demo=is_demo(signed_in(request)),
        browsers=await console_of(request).logins.count(signed_in(request)),
    )


async def change_password(request: web.Request) -> web.Response:
    """``POST /account/password``: ``current``, ``password``, ``again``. Every browser is signed out; this one gets a new login."""
    state, form, account = console_of(request), form_of(request), signed_in(request)
    if form.get("password", "") != form.get("again", ""):
        return await _page(request, 400, change_error="The new passwords differ.")
    try:
        await _confirm(request, form.get("current", ""))
        await state.accounts.set_password(account.email, form.get("password", ""))
    except _NotConfirmed as refusal:
        return _limited(refusal, await _page(request, refusal.status, change_error=str(refusal)))
    except PasswordRefused as error:
        return await _page(request, 400, change_error=str(error))
    log.info("audit.password_changed", account=account.id, address=address_of(request))
    response = see("/account?changed")
    cookies.put(request, response, cookies.LOGIN_COOKIE, await state.logins.begin(account), state.settings.login_seconds)
    return response


async def sign_out_others(request: web.Request) -> web.Response:
    """``POST /account/logins/end``: sign out every browser but this one."""
    await console_of(request).logins.end_others(request[LOGIN])
    log.info("audit.others_signed_out", account=signed_in(request).id)
    return see("/account")


async def delete(request: web.Request) -> web.Response:
    """``POST /account/delete``: ``current``, the password. Streams, credentials and visits go with the account."""
    state, account = console_of(request), signed_in(request)
    try:
        await _confirm(request, form_of(request).get("current", ""))
    except _NotConfirmed as refusal:
        return _limited(refusal, await _page(request, refusal.status, delete_error=str(refusal)))
    await state.accounts.delete_account(account.email)
    state.forget_credentials()
    log.info("audit.account_deleted", account=account.id, address=address_of(request))
    response = see("/")
    cookies.drop(request, response, cookies.LOGIN_COOKIE)
    return response


class _NotConfirmed(Exception):
    """It was not the account's password, or there were too many tries."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


async def _confirm(request: web.Request, password: str) -> None:
    """Whoever found an open browser has no more tries at the password than anybody else. Raises `_NotConfirmed`."""
    state, account = console_of(request), signed_in(request)
    limit = Limit("confirm", email_key(account.email), state.settings.guesses_per_account, state.settings.guess_seconds)
    try:
        await state.guessing.charge(limit)
    except RateLimited as limited:
        seconds = math.ceil(limited.retry_after or 1)
        raise _NotConfirmed(429, f"Too many attempts. Try again in {seconds} s.", seconds) from None
    if await state.accounts.check_password(account.email, password) is None:
        log.info("audit.confirmation_refused", account=account.id, address=address_of(request))
        raise _NotConfirmed(400, "This is not your password.")
    await state.guessing.refund(limit)


def _limited(refusal: _NotConfirmed, response: web.Response) -> web.Response:
    if refusal.retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(refusal.retry_after)
    return response


ROUTES = [
    Route("GET", "/account", show),
    Route("POST", "/account/password", change_password),
    Route("POST", "/account/logins/end", sign_out_others),
    Route("POST", "/account/delete", delete),
]
