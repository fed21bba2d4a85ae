"""What the console's pages share, and what the guard has found out about a request before a page sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from jinja2 import Environment
from multidict import MultiDict

from accounts.guessing import Guessing
from accounts.logins import Login, Logins
from accounts.model import DEMO_EMAIL, Account, Stream, email_key
from accounts.store import Accounts
from accounts.usage import AccountUsage
from console.assets import Assets
from console.routing import Entry, Handler, Route
from gateway.state import GATE, Gate, base_url
from shared.aio import TtlCache
from shared.settings import Settings

#: Accounts on a page of their usage.
USAGE_PAGE = 20


@dataclass(frozen=True, slots=True)
class Keys:
    """What forms and devices are signed with (`accounts.keys.derive`)."""

    csrf: bytes
    device: bytes


@dataclass(frozen=True, slots=True)
class Console:
    """The parts of the console."""

    settings: Settings
    accounts: Accounts
    logins: Logins
    guessing: Guessing
    keys: Keys
    templates: Environment
    assets: Assets
    routes: list[Route]
    navigation: list[Entry]
    #: What `usage_page` told lately, by page.
    usage: TtlCache[int, tuple[list[AccountUsage], int]]
    #: To be called once a stream's credentials were changed.
    forget_credentials: Callable[[], None]

    async def usage_page(self, page: int) -> tuple[list[AccountUsage], int]:
        """(`USAGE_PAGE` accounts with what they used, how many accounts there are), some seconds old at most.

        Raises `shared.errors.StoreAway`.
        """
        ledger = self.accounts.ledger
        return await self.usage.load(page, lambda: ledger.of_all(time.time(), page=page, size=USAGE_PAGE))


CONSOLE: web.AppKey[Console] = web.AppKey("console", Console)
#: The guarded handlers, by which errors of pages are told from those of the API.
HANDLERS: web.AppKey[frozenset[Handler]] = web.AppKey("handlers", frozenset)
LOGIN: web.RequestKey[Login] = web.RequestKey("login", Login)
STREAM: web.RequestKey[Stream] = web.RequestKey("stream", Stream)
FORM: web.RequestKey[MultiDict[str]] = web.RequestKey("form", MultiDict)
#: The random word that this browser's forms are bound to: that of its login, or one of its own before.
WORD: web.RequestKey[str] = web.RequestKey("word", str)


def console_of(request: web.Request) -> Console:
    """The console that the request came to."""
    return request.app[CONSOLE]


def gate_of(request: web.Request) -> Gate:
    """The gateway beside the console: its settings, broker, stores and catalogue."""
    return request.app[GATE]


def login_of(request: web.Request) -> Login | None:
    """The browser's login, on public pages too; None when it is not signed in."""
    return request.get(LOGIN)


def signed_in(request: web.Request) -> Account:
    """The account that is signed in. For pages that are not public; the guard has let nobody else through."""
    return request[LOGIN].account


def stream_of(request: web.Request) -> Stream:
    """The stream that the address names (``{stream}``), which is the account's own."""
    return request[STREAM]


def form_of(request: web.Request) -> MultiDict[str]:
    """The fields of the form that was sent, the token of it left out."""
    return request[FORM]


def is_demo(account: Account) -> bool:
    """Whether it is the demonstration's account, whose stream has the published credentials."""
    return email_key(account.email) == DEMO_EMAIL


def address_of(request: web.Request) -> str:
    """The address that the request came from, as limits and the log know it."""
    return gate_of(request).proxies.client_of(request)


def gate_url(request: web.Request) -> str:
    """Where programs send their jobs, without a slash at the end."""
    own = console_of(request).settings.gate_url
    return own.rstrip("/") if own else base_url(request)


def is_https(request: web.Request) -> bool:
    """Whether the browser speaks HTTPS with us, as far as the settings and the trusted proxies tell."""
    return base_url(request).startswith("https://")


def has_page(request: web.Request, path: str) -> bool:
    """Whether a page is registered at this very path."""
    return any(route.path == path and route.method == "GET" for route in console_of(request).routes)
