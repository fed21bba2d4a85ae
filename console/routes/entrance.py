"""Coming in and going out: the front page, registering, signing in and out."""

from __future__ import annotations

import math

from aiohttp import hdrs, web

from accounts.errors import EmailInvalid, EmailTaken, PasswordRefused
from accounts.guessing import Limit
from accounts.model import Account, email_key
from console import cookies
from console.pages import local_path, render, see
from console.routing import Access, Route
from console.state import LOGIN, address_of, console_of, form_of, has_page, is_demo, login_of, signed_in
from gateway.http.auth import subscriber
from shared.errors import NotFound, RateLimited
from shared.log import get_logger

log = get_logger(__name__)

_PLAYGROUND = "/playground"


async def front(request: web.Request) -> web.Response:
    """``GET /``: what this is, and the two ways in; whoever is signed in is led on."""
    login = login_of(request)
    if login is None:
        return await render(request, "front.html", registration=_is_open(request))
    return see(_home(request, login.account))


def _home(request: web.Request, account: Account) -> str:
    """Where an account starts: a newcomer with the demonstration tries things out."""
    return _PLAYGROUND if is_demo(account) and has_page(request, _PLAYGROUND) else "/streams"


def _is_open(request: web.Request) -> bool:
    return console_of(request).settings.registration == "open"


async def register_form(request: web.Request) -> web.Response:
    """``GET /register``."""
    return await render(request, "register.html", error="", email="", registration=_is_open(request))


async def register(request: web.Request) -> web.Response:
    """``POST /register``: ``email``, ``password``, ``again``. The answer does not tell whether there was such an account before."""
    state, form = console_of(request), form_of(request)
    email, password = form.get("email", ""), form.get("password", "")

    async def refused(error: str) -> web.Response:
        return await render(request, "register.html", 400, error=error, email=email[:254], registration=True)

    if not _is_open(request):
        raise NotFound("accounts are made by the operator of this installation")
    if password != form.get("again", ""):
        return await refused("The passwords differ.")
    settings = state.settings
    await state.guessing.charge(
        Limit("register", subscriber(address_of(request)), settings.registrations_per_address, settings.guess_seconds)
    )
    try:
        account = await state.accounts.create_account(email, password)
        log.info("audit.account_created", account=account.id, address=address_of(request))
    except EmailTaken:
        log.info("audit.account_taken", address=address_of(request))
    except (EmailInvalid, PasswordRefused) as error:
        return await refused(str(error))
    return see("/login?registered")


async def login_form(request: web.Request) -> web.Response:
    """``GET /login``; ``next``: the path to go to afterwards."""
    wanted = local_path(request.query.get("next", "")) or ""
    return await render(
        request, "login.html", error="", email="", next=wanted, registered="registered" in request.query, registration=_is_open(request)
    )


async def log_in(request: web.Request) -> web.Response:
    """``POST /login``: ``email``, ``password``, ``next``. One answer to a wrong address and to a wrong password."""
    state, form = console_of(request), form_of(request)
    email, password = form.get("email", ""), form.get("password", "")
    wanted = local_path(form.get("next", "")) or ""

    async def refused(status: int, error: str) -> web.Response:
        return await render(
            request, "login.html", status, error=error, email=email[:254], next=wanted, registered=False, registration=_is_open(request)
        )

    limits = _limits(request, email)
    try:
        await state.guessing.charge(*limits)
    except RateLimited as limited:
        log.warning("audit.login_limited", address=address_of(request))
        seconds = math.ceil(limited.retry_after or 1)
        response = await refused(429, f"Too many attempts. Try again in {_in_words(seconds)}.")
        response.headers[hdrs.RETRY_AFTER] = str(seconds)
        return response
    account = await state.accounts.check_password(email, password)
    if account is None:
        log.info("audit.login_refused", address=address_of(request))
        return await refused(401, "There is no account with this e-mail address and password.")
    await state.guessing.refund(*limits)
    return await _signed_in(request, account, wanted)


def _limits(request: web.Request, email: str) -> list[Limit]:
    """Of the address that asks, and of the account that is asked for; a browser that it was signed in on has tries of its own."""
    settings = console_of(request).settings
    limits = [Limit("address", subscriber(address_of(request)), settings.guesses_per_address, settings.guess_seconds)]
    try:
        key = email_key(email)
    except EmailInvalid:
        return limits
    device = cookies.device_of(request, key)
    kind, subject = ("account", key) if device is None else ("device", f"{device} {key}")
    return [*limits, Limit(kind, subject, settings.guesses_per_account, settings.guess_seconds)]


def _in_words(seconds: int) -> str:
    return f"{seconds} s" if seconds < 90 else f"{math.ceil(seconds / 60)} minutes"


async def _signed_in(request: web.Request, account: Account, wanted: str) -> web.Response:
    """A new login, whatever the browser had before: an identifier that somebody planted in it is worth nothing."""
    state = console_of(request)
    before = login_of(request)
    if before is not None:
        await state.logins.end(before)
    word = await state.logins.begin(account)
    response = see(wanted or _home(request, account))
    cookies.put(request, response, cookies.LOGIN_COOKIE, word, state.settings.login_seconds)
    cookies.drop(request, response, cookies.FORM_COOKIE)
    cookies.mark_device(request, response, email_key(account.email))
    log.info("audit.login", account=account.id, address=address_of(request))
    return response


async def log_out(request: web.Request) -> web.Response:
    """``POST /logout``."""
    await console_of(request).logins.end(request[LOGIN])
    response = see("/login")
    cookies.drop(request, response, cookies.LOGIN_COOKIE)
    log.info("audit.logout", account=signed_in(request).id)
    return response


ROUTES = [
    Route("GET", "/", front, Access.PUBLIC),
    Route("GET", "/register", register_form, Access.PUBLIC),
    Route("POST", "/register", register, Access.PUBLIC),
    Route("GET", "/login", login_form, Access.PUBLIC),
    Route("POST", "/login", log_in, Access.PUBLIC),
    Route("POST", "/logout", log_out),
]
