"""Seconds of stream in the database: what meters go on from, and what customers and operators see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Insert, Select, case, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from accounts.model import Account, Plan, Stream
from accounts.plans import limits_of
from accounts.tables import AccountRow, PlanRow, StreamRow, UsageRow
from database.engine import Database
from shared.usage import DAY_SECONDS, Allowance, DayOfUse, Known, Metered, day_of, month_of, period_of

#: Statements have a limited number of parameters (SQLite: 32,766).
_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds ``used`` of the allowance in the present period, which ends at ``renewed`` (UTC)."""

    allowance: Allowance
    used: int
    renewed: datetime

    @property
    def left(self) -> int | None:
        """Seconds that are left; None without a limit."""
        return None if self.allowance.seconds is None else max(0, self.allowance.seconds - self.used)


@dataclass(frozen=True, slots=True)
class StreamUsage:
    """A stream and the seconds that it used itself in the plan's present period."""

    stream: Stream
    used: int


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """An account and its streams. ``usage.used``: seconds of all its streams, of those that are gone too.

    With an allowance of the scope ``stream`` it is each stream's own seconds that count against the limit, else the account's.
    """

    account: Account
    usage: Usage
    streams: tuple[StreamUsage, ...] = ()


class Ledger:
    """What was counted, a row a stream and day. Every method may raise `shared.errors.StoreAway`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self, who: Metered, now: float) -> Known:
        """What was counted before ``now`` (seconds since 1970) of the stream and its account."""
        day = day_of(now)
        first, after = month_of(day)
        mine = UsageRow.stream == who.stream
        sums = [_sum(mine & (UsageRow.day == day)), _sum(mine), _sum(UsageRow.day == day), _sum(None)]
        chosen = select(*sums).where(UsageRow.account_id == who.account, UsageRow.day >= first, UsageRow.day < after)
        async with self._database.reading() as session:
            return Known(day, *map(int, (await session.execute(chosen)).one()))

    async def save(self, days: Sequence[DayOfUse]) -> None:
        """Keep these; of what is there already the larger number stands, so that nothing is counted twice or lost again.

        What belongs to an account that is gone is dropped.
        """
        async with self._database.writing() as session:
            for start in range(0, len(days), _ROWS):
                chunk = days[start : start + _ROWS]
                there = await _existing_accounts(session, {one.account for one in chunk})
                rows = [
                    {"stream": one.stream, "day": one.day, "account_id": one.account, "seconds": one.seconds}
                    for one in sorted(
                        chunk, key=lambda one: (one.stream, one.day)
                    )  # one order, so that two writers never wait for each other
                    if one.account in there
                ]
                if rows:
                    await session.execute(_upsert(session.get_bind().dialect.name), rows)

    async def forget(self, before_day: int) -> None:
        """Delete the days before this one."""
        async with self._database.writing() as session:
            await session.execute(delete(UsageRow).where(UsageRow.day < before_day))

    # For those who want to see it

    async def of_stream(self, client_id: str, now: float) -> Usage | None:
        """What counts against the stream's limit at ``now`` (seconds since 1970); None when there is no such stream."""
        chosen = _with_plans(select(StreamRow, AccountRow, PlanRow).join(AccountRow, AccountRow.id == StreamRow.account_id))
        async with self._database.reading() as session:
            row: Any = (await session.execute(chosen.where(StreamRow.client_id == client_id))).one_or_none()
            if row is None:
                return None
            stream, account, plan = row
            allowance = limits_of(Plan(account.plan), plan).allowance
            by_stream = await _used(session, [account.id], allowance, now)
        mine = by_stream.get((account.id, stream.client_id), 0)
        return _usage(allowance, mine if allowance.scope == "stream" else sum(by_stream.values()), now)

    async def of_account(self, account_id: str, now: float) -> AccountUsage | None:
        """The account with its streams, the oldest first; None when there is no such account."""
        found, _ = await self._accounts(_with_plans(select(AccountRow, PlanRow)).where(AccountRow.id == account_id), now, streams=True)
        return found[0] if found else None

    async def of_all(self, now: float, *, page: int = 1, size: int = 100) -> tuple[list[AccountUsage], int]:
        """(``size`` accounts without their streams, the oldest first, of this page from 1 on; how many accounts there are)."""
        chosen = _with_plans(select(AccountRow, PlanRow)).order_by(AccountRow.created, AccountRow.id)
        return await self._accounts(chosen.offset((page - 1) * size).limit(size), now, streams=False)

    async def _accounts(self, chosen: Select[Any], now: float, *, streams: bool) -> tuple[list[AccountUsage], int]:
        async with self._database.reading() as session:
            total = await session.scalar(select(func.count()).select_from(AccountRow)) or 0
            rows: Any = (await session.execute(chosen)).all()
            allowances = {account.id: limits_of(Plan(account.plan), plan).allowance for account, plan in rows}
            used: dict[tuple[str, str], int] = {}
            for allowance in set(allowances.values()):
                used |= await _used(session, [name for name, its in allowances.items() if its == allowance], allowance, now)
            mine: list[Stream] = []
            if streams:
                owned = select(StreamRow).where(StreamRow.account_id.in_(allowances)).order_by(StreamRow.created, StreamRow.client_id)
                mine = [row.noun() for row in await session.scalars(owned)]
        sums: dict[str, int] = {}
        for (account, _), seconds in used.items():
            sums[account] = sums.get(account, 0) + seconds
        return [
            AccountUsage(
                account.noun(),
                _usage(allowances[account.id], sums.get(account.id, 0), now),
                tuple(StreamUsage(one, used.get((account.id, one.client_id), 0)) for one in mine),
            )
            for account, _ in rows
        ], total


def _usage(allowance: Allowance, used: int, now: float) -> Usage:
    return Usage(allowance, used, datetime.fromtimestamp(period_of(allowance.period, now)[1], UTC))


def _sum(condition: ColumnElement[bool] | None) -> ColumnElement[int]:
    seconds = UsageRow.seconds if condition is None else case((condition, UsageRow.seconds), else_=0)
    return func.coalesce(func.sum(seconds), 0)


def _with_plans(chosen: Any) -> Any:
    return chosen.outerjoin(PlanRow, PlanRow.name == AccountRow.plan)


async def _used(session: AsyncSession, accounts: Sequence[str], allowance: Allowance, now: float) -> dict[tuple[str, str], int]:
    """Seconds in the allowance's present period by (account, stream)."""
    first, after = (second // DAY_SECONDS for second in period_of(allowance.period, now))
    inside = UsageRow.account_id.in_(accounts) & (UsageRow.day >= first) & (UsageRow.day < after)
    keys = UsageRow.account_id, UsageRow.stream
    rows = await session.execute(select(*keys, func.sum(UsageRow.seconds)).where(inside).group_by(*keys))
    return {(account, stream): int(seconds) for account, stream, seconds in rows}


async def _existing_accounts(session: AsyncSession, wanted: Iterable[str]) -> set[str]:
    # Nobody deletes them while their rows are being written.
    chosen = select(AccountRow.id).where(AccountRow.id.in_(sorted(wanted))).order_by(AccountRow.id)
    return set(await session.scalars(chosen.with_for_update(read=True, key_share=True)))


@cache  # building it takes milliseconds, every second
def _upsert(database: str) -> Insert:
    dialect = postgresql if database == "postgresql" else sqlite
    statement = dialect.insert(UsageRow.__table__)
    new, old = statement.excluded, UsageRow.__table__.c
    newer = (old.seconds < new.seconds) & (old.account_id == new.account_id)
    upsert: Insert = statement.on_conflict_do_update(index_elements=["stream", "day"], set_={"seconds": new.seconds}, where=newer)
    return upsert
