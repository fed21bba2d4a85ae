"""Who sends a request: HTTP Basic with a stream's ``client_id:access_token``."""

from __future__ import annotations

import asyncio
import binascii
import os
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import Any

from aiohttp import hdrs, web

from accounts.credentials import Credentials, Tenant
from gateway.http.limits import TrustedProxies
from shared.aio import Clock, SingleFlight, TtlCache
from shared.errors import RateLimited, Unauthorized, Unavailable
from shared.log import get_logger

log = get_logger(__name__)

#: While nobody can be asked, this long between questions about the same header, in seconds.
_ASK_AGAIN = 5.0
_MOST_HEADER = 1024
_MOST_CACHED = 10_000
_MOST_ADDRESSES = 10_000
_MOST_QUESTIONS = 8


class FailureLimit:
    """Lets each address fail so many times a minute, in bounded memory: a bucket that refills steadily.

    IPv6 addresses count by their /64, which is what one subscriber is given. Forgetting the addresses that were silent
    for longest is the price of the bound.
    """

    def __init__(self, failures: int = 20, seconds: float = 60.0, *, clock: Clock = time.monotonic) -> None:
        self._capacity = float(failures)
        self._rate = failures / seconds
        self._clock = clock
        #: The level of each address, and when that was; ``seconds`` later the bucket is full again.
        self._buckets: TtlCache[str, tuple[float, float]] = TtlCache(seconds, _MOST_ADDRESSES, clock)

    def check(self, address: str) -> None:
        """Raises `RateLimited` when the address has no attempt left."""
        level = self._level(subscriber(address))
        if level < 1:
            raise RateLimited("Too many failed logins from this address", retry_after=(1 - level) / self._rate)

    def charge(self, address: str) -> None:
        """An attempt of this address failed."""
        key = subscriber(address)
        self._buckets.put(key, (max(0.0, self._level(key) - 1), self._clock()))

    def _level(self, key: str) -> float:
        level, since = self._buckets.get(key) or (self._capacity, 0.0)
        return min(self._capacity, level + (self._clock() - since) * self._rate)


@dataclass(frozen=True, slots=True)
class _Known:
    """A tenant. It serves until ``fresh``; then it is asked for again, and until ``stale`` it serves while nobody answers."""

    tenant: Tenant
    fresh: float
    stale: float


#: Asks the database for a tenant.
Question = Callable[[], Coroutine[Any, Any, _Known | None]]


class Authenticator:
    """Asks the credentials once, then remembers the tenant for a while under a keyed digest of the header."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        cache_seconds: float = 60.0,
        stale_seconds: float = 0.0,
        proxies: TrustedProxies | None = None,
        failures: FailureLimit | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """A credential that is revoked works for up to ``cache_seconds`` more in this process.

        While nobody can say, one that was right works for ``stale_seconds`` since it was asked for.
        """
        self._credentials = credentials
        self._cache_seconds, self._stale_seconds = cache_seconds, stale_seconds
        self._proxies = proxies or TrustedProxies()
        self._failures = failures or FailureLimit(clock=clock)
        self._clock = clock
        self._key = os.urandom(32)
        kept_seconds = max(cache_seconds, stale_seconds)
        #: By a keyed digest of the header, for as long as a tenant may serve while nobody can be asked.
        self._known: TtlCache[bytes, _Known] = TtlCache(kept_seconds, _MOST_CACHED, clock)
        self._asking: SingleFlight[bytes, _Known | None] = SingleFlight()
        self._questions = asyncio.Semaphore(_MOST_QUESTIONS)

    async def __call__(self, request: web.Request, header: str | None = None) -> Tenant:
        """The tenant. Raises `Unauthorized`, `RateLimited`, or `Unavailable` when the database cannot say.

        ``header``: the Authorization field to look at instead of the request's own, in the form of RFC 7617.
        """
        header = header if header is not None else request.headers.get(hdrs.AUTHORIZATION)
        if header is None or len(header) > _MOST_HEADER:
            raise _refusal()
        digest = blake2b(header.encode("utf-8", "surrogateescape"), key=self._key, digest_size=16).digest()
        known = self._known.get(digest)
        if known is not None and self._clock() < known.fresh:
            return known.tenant
        return await self._verify(request, header, digest)

    async def current(self, client_id: str, fingerprint: str, proved: Tenant | None = None) -> Tenant:
        """The stream as it is now, for a connection that lasts and for what was made for it before.

        ``proved``: the stream as this connection knows it, to go on with while nobody can say. Raises `Unauthorized` when it is gone or its
        access token was changed, else as `__call__`.
        """
        digest = blake2b(client_id.encode(), key=self._key, digest_size=16, person=b"current").digest()
        known = self._known.get(digest)
        if known is None or self._clock() >= known.fresh:
            before = known
            if before is None and proved is not None:
                before = _Known(proved, 0.0, self._clock() + self._stale_seconds)
            known = await self._share(digest, lambda: self._look(client_id, before))
        if known is None or known.tenant.fingerprint != fingerprint:
            raise _refusal()
        return known.tenant

    def forget(self) -> None:
        """Ask anew for everybody, after credentials were changed."""
        self._known.clear()

    async def _verify(self, request: web.Request, header: str, digest: bytes) -> Tenant:
        login = parse_basic(header)
        if login is None:
            raise _refusal()
        address = self._proxies.client_of(request)
        self._failures.check(address)
        known = await self._ask(login, address, digest)
        if known is None:
            raise _refusal()
        return known.tenant

    async def _ask(self, login: tuple[str, str], address: str, digest: bytes) -> _Known | None:
        return await self._share(digest, lambda: self._question(login, address, self._known.get(digest)))

    async def _share(self, digest: bytes, question: Question) -> _Known | None:
        """One question at a time for the same header, however many requests wait for it and whoever of them leaves."""
        return await self._asking.do(digest, lambda: self._remembered(digest, question))

    async def _remembered(self, digest: bytes, question: Question) -> _Known | None:
        """The answer, remembered before the question has ended: nobody asks again in between."""
        try:
            known = await question()
        except BaseException:
            self._known.pop(digest)
            raise
        if known is None:
            self._known.pop(digest)
        else:
            self._known.put(digest, known)
        return known

    async def _question(self, login: tuple[str, str], address: str, before: _Known | None) -> _Known | None:
        """Few at a time, each with a look at the limit: a volley of guesses gets no further than one after the other."""
        async with self._questions:
            self._failures.check(address)
            known = await self._answer(self._credentials.verify(*login), before)
            if known is None:
                self._failures.charge(address)
                log.info("auth.refused", address=address)
            return known

    async def _look(self, stream: str, before: _Known | None) -> _Known | None:
        async with self._questions:
            return await self._answer(self._credentials.tenant(stream), before)

    async def _answer(self, question: Awaitable[Tenant | None], before: _Known | None) -> _Known | None:
        """What the credentials say; what was known ``before``, for a while, when nobody can say."""
        asked = self._clock()
        try:
            tenant = await question
        except Unavailable:
            if before is None or self._clock() >= before.stale:
                raise
            log.warning("auth.stale", stream=before.tenant.id)
            return replace(before, fresh=min(self._clock() + _ASK_AGAIN, before.stale))
        if tenant is None:
            return None
        return _Known(tenant, asked + self._cache_seconds, asked + max(self._cache_seconds, self._stale_seconds))


def parse_basic(header: str) -> tuple[str, str] | None:
    """(user, password) of an Authorization header (RFC 7617), or None when it is not well-formed."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = b64decode(encoded.strip(" ").encode("ascii"), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    user, colon, password = text.partition(":")
    if not (user and colon and password and text.isprintable()):
        return None
    return user, password


def _refusal() -> Unauthorized:
    """The same for everybody: nothing, nonsense, an unknown id, a wrong token."""
    return Unauthorized("Basic authentication with the client_id and access_token of a stream is needed")


def subscriber(address: str) -> str:
    """What limits count an address by: an IPv6 address is one of the many of its subscriber's /64."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_address(int(parsed) >> 64 << 64))
