"""Around every page: who asks, whether they may, and whether a change was asked for by a form of ours.

A page cannot forget any of it: the route says who may come, and whoever is not said to be the public has to sign in.
"""

from __future__ import annotations

import secrets

from aiohttp import web

from console.cookies import FORM_COOKIE, LOGIN_COOKIE, put, read
from console.forms import SAFE, check_origin, check_token
from console.pages import HEADERS
from console.routing import Access, Handler, Route
from console.state import LOGIN, STREAM, WORD, console_of, login_of, signed_in
from shared.errors import NotFound, SignedOut

_STREAM = "stream"


def guarded(route: Route) -> Handler:
    """The handler of the route behind everything that its access asks for.

    It raises `SignedOut`, `ForgedRequest`, or `NotFound` for operators' pages and others' streams: who may not see them cannot tell that
    they are there.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        changes = request.method not in SAFE
        if changes:
            check_origin(request)
        await _recognise(request)
        _admit(request, route.access)
        if changes:
            await check_token(request)
        if _STREAM in request.match_info:
            await _find_stream(request)
        fresh = _bind_forms(request)
        response = await route.handler(request)
        if not response.prepared:
            response.headers.update({name: value for name, value in HEADERS.items() if name not in response.headers})
            if fresh and WORD in request:
                put(request, response, FORM_COOKIE, request[WORD])
        return response

    return handle


async def _recognise(request: web.Request) -> None:
    word = read(request, LOGIN_COOKIE)
    login = await console_of(request).logins.find(word) if word else None
    if login is not None:
        request[LOGIN] = login
        request[WORD] = word
    elif before := read(request, FORM_COOKIE):
        request[WORD] = before


def _admit(request: web.Request, access: Access) -> None:
    login = login_of(request)
    if access is Access.PUBLIC:
        return
    if login is None:
        raise SignedOut
    if access is Access.OPERATOR and not login.account.operator:
        raise NotFound


async def _find_stream(request: web.Request) -> None:
    streams = console_of(request).accounts.streams
    found = await streams.find(signed_in(request).id, request.match_info[_STREAM])
    if found is None:
        raise NotFound("there is no such stream")
    request[STREAM] = found


def _bind_forms(request: web.Request) -> bool:
    """Give a browser that is not signed in a word for its forms; whether it is a new one."""
    if WORD in request:
        return False
    request[WORD] = secrets.token_urlsafe(32)
    return True
