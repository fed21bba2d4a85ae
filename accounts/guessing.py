"""How often passwords may be guessed: counted in the database, so that neither a restart nor another gateway starts anew."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from sqlalchemy import case, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from accounts.tables import GuessRow
from database.engine import Database
from shared.errors import RateLimited


@dataclass(frozen=True, slots=True)
class Limit:
    """``tries`` in ``seconds``, of whoever ``subject`` names within ``kind``; they come back one by one over that time."""

    kind: str
    subject: str
    tries: int
    seconds: float

    @property
    def cost_ms(self) -> int:
        return max(1, math.ceil(1000 * self.seconds / self.tries))

    @property
    def window_ms(self) -> int:
        return self.cost_ms * self.tries


class Guessing:
    """Takes a try from every limit before the password is looked at, so that a volley gets no further than one after the other.

    A row says until when the tries of its subject are used up, as a virtual time (GCRA); it is deleted once that is past. Subjects are
    kept as keyed digests. Every method may raise `shared.errors.StoreAway`.
    """

    def __init__(self, database: Database, key: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._key = key
        self._clock = clock

    async def charge(self, *limits: Limit) -> None:
        """Take one try of each. Raises `RateLimited` with the time until the next one; then nothing was taken."""
        now = int(self._clock() * 1000)
        async with self._database.writing() as session:
            await session.execute(delete(GuessRow).where(GuessRow.until <= now))
            for limit in limits:
                if not await self._take(session, limit, now):
                    row = await session.get(GuessRow, self._subject(limit))
                    until = now if row is None else row.until
                    raise RateLimited("Too many attempts", retry_after=(until + limit.cost_ms - limit.window_ms - now) / 1000)

    async def refund(self, *limits: Limit) -> None:
        """Give back what `charge` took: the attempt was right."""
        async with self._database.writing() as session:
            for limit in limits:
                back = update(GuessRow).where(GuessRow.subject == self._subject(limit))
                await session.execute(back.values(until=GuessRow.until - limit.cost_ms))

    async def _take(self, session: AsyncSession, limit: Limit, now: int) -> bool:
        # One statement, so that two gateways cannot take the same try.
        insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        later = case((GuessRow.until > now, GuessRow.until), else_=now) + limit.cost_ms
        taken = insert(GuessRow).values(subject=self._subject(limit), until=now + limit.cost_ms)
        within = later - now <= limit.window_ms
        statement = taken.on_conflict_do_update(index_elements=[GuessRow.subject], set_={"until": later}, where=within)
        return await session.scalar(statement.returning(GuessRow.subject)) is not None

    def _subject(self, limit: Limit) -> bytes:
        text = f"{limit.kind}\0{limit.subject}".encode("utf-8", "surrogatepass")
        return blake2b(text, key=self._key, digest_size=16).digest()
