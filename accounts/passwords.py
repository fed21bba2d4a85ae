"""Passwords of accounts, as Argon2id hashes (RFC 9106, second recommended parameters: 64 MiB, 3 passes, 4 lanes)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from accounts.errors import PasswordRefused
from shared.errors import Unavailable

_SHORTEST, _LONGEST = 8, 1024


class Passwords:
    """Hashes and checks outside the event loop, few at a time since each takes 64 MiB.

    Beyond so many that wait, both methods raise `shared.errors.Unavailable`: whoever came first is not kept waiting for ever.
    """

    def __init__(self, at_once: int = 2, most_waiting: int = 32) -> None:
        self._hasher = PasswordHasher()
        self._slots = asyncio.Semaphore(at_once)
        self._most = at_once + most_waiting
        self._here = 0

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._here >= self._most:
            raise Unavailable("Too many passwords are being looked at; try again in a moment", retry_after=2)
        self._here += 1
        try:
            async with self._slots:
                yield
        finally:
            self._here -= 1

    async def hash(self, password: str) -> str:
        """The hash to store. Raises `PasswordRefused` for a password of an unfit length."""
        if not _SHORTEST <= len(password) <= _LONGEST:
            raise PasswordRefused
        async with self._turn():
            return await asyncio.to_thread(self._hasher.hash, _bytes(password))

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one of the stored hash; None (no such account) does the same work and is False."""
        # Longer ones are never right; cut, so that they are not a way to make us compute.
        given = _bytes(password[: _LONGEST + 1])
        async with self._turn():
            return await asyncio.to_thread(self._verify, stored, given)

    def _verify(self, stored: str | None, given: bytes) -> bool:
        try:
            self._hasher.verify(self._nobodys if stored is None else stored, given)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(secrets.token_bytes(32))


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
