"""Signed-in browsers. A login is known by a random word that only its browser has; here is only the digest of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, func, select, update

from accounts.model import DEMO_EMAIL, Account
from accounts.tables import AccountRow, LoginRow
from database.engine import Database
from database.tables import now
from shared.settings import Settings

#: A login that is in use is prolonged this often, not with each request.
_PROLONG = timedelta(minutes=1)
_LONGEST_WORD = 100


@dataclass(frozen=True, slots=True)
class Login:
    """A browser that proved to be an account's. ``digest`` names the login without being able to use it; ``expires`` in UTC."""

    account: Account
    digest: bytes
    expires: datetime


class Logins:
    """Every method may raise `shared.errors.StoreAway`.

    A login ends when it was not used for ``login_idle_seconds``, ``login_seconds`` after it began, when it is signed out, and when the
    account's password changes or the account is deleted (`accounts.store.Accounts` does that in the same transaction).
    """

    def __init__(self, database: Database, settings: Settings, *, demo_allowed: bool) -> None:
        self._database = database
        self._idle = timedelta(seconds=settings.login_idle_seconds)
        self._longest = timedelta(seconds=settings.login_seconds)
        self._most = settings.logins_per_account
        self._demo_allowed = demo_allowed

    async def begin(self, account: Account) -> str:
        """The word for the browser's cookie (256 random bits). Beyond the most that an account may have, the oldest logins end."""
        word, begun = secrets.token_urlsafe(32), now()
        async with self._database.writing() as session:
            await session.execute(delete(LoginRow).where(LoginRow.expires <= begun))
            newest = select(LoginRow.digest).where(LoginRow.account_id == account.id).order_by(LoginRow.begun.desc(), LoginRow.digest)
            kept = (await session.scalars(newest.limit(self._most - 1))).all()
            await session.execute(delete(LoginRow).where(LoginRow.account_id == account.id, LoginRow.digest.not_in(kept)))
            session.add(LoginRow(digest=_digest(word), account_id=account.id, begun=begun, expires=self._end(begun, begun)))
        return word

    async def find(self, word: str) -> Login | None:
        """The login with this word; None when there is none or it is over."""
        if not 0 < len(word) <= _LONGEST_WORD:
            return None
        digest, at = _digest(word), now()
        chosen = select(AccountRow, LoginRow.begun, LoginRow.expires).join(LoginRow, LoginRow.account_id == AccountRow.id)
        async with self._database.reading() as session:
            row = (await session.execute(chosen.where(LoginRow.digest == digest, LoginRow.expires > at))).one_or_none()
        if row is None or (row.AccountRow.email_key == DEMO_EMAIL and not self._demo_allowed):
            return None
        expires = self._end(row.begun, at)
        if expires - row.expires > _PROLONG:
            async with self._database.writing() as session:
                await session.execute(update(LoginRow).where(LoginRow.digest == digest).values(expires=expires))
        return Login(row.AccountRow.noun(), digest, max(expires, row.expires))

    async def count(self, account: Account) -> int:
        """In how many browsers the account is signed in."""
        alive = (LoginRow.account_id == account.id, LoginRow.expires > now())
        async with self._database.reading() as session:
            return await session.scalar(select(func.count()).select_from(LoginRow).where(*alive)) or 0

    async def end(self, login: Login) -> None:
        """Sign this browser out."""
        async with self._database.writing() as session:
            await session.execute(delete(LoginRow).where(LoginRow.digest == login.digest))

    async def end_others(self, login: Login) -> None:
        """Sign every other browser of the account out."""
        others = (LoginRow.account_id == login.account.id, LoginRow.digest != login.digest)
        async with self._database.writing() as session:
            await session.execute(delete(LoginRow).where(*others))

    def _end(self, begun: datetime, used: datetime) -> datetime:
        return min(used + self._idle, begun + self._longest)


def _digest(word: str) -> bytes:
    # The word is random, so a fast digest without a key cannot be guessed backwards.
    return sha256(word.encode("utf-8", "surrogatepass")).digest()
