"""The plans and their limits: those of this program, unless an operator set others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import select

from accounts.errors import LimitInvalid
from accounts.model import Limits, Plan
from accounts.tables import PlanRow
from database.engine import Database
from shared.usage import Allowance

#: Developer: one stream an account, and three hours of stream a month for the account, so that a stream made anew begins with
#: none. Enterprise: any number of streams, twelve hours a day each.
DEFAULTS: Mapping[Plan, Limits] = {
    Plan.DEVELOPER: Limits(Allowance("developer", 3 * 3600, "month", "account", paid=False), 1),
    Plan.ENTERPRISE: Limits(Allowance("enterprise", 12 * 3600, "day", "stream", paid=True), None),
}
_MOST = 2**31 - 1


class Plans:
    """The limits of the plans in the database. Every method may raise `shared.errors.StoreAway`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def limits(self) -> dict[Plan, Limits]:
        """Of every plan."""
        async with self._database.reading() as session:
            rows = {row.name: row for row in await session.scalars(select(PlanRow))}
        return {plan: limits_of(plan, rows.get(plan.value)) for plan in Plan}

    async def set_limits(self, plan: Plan, seconds: int | None, streams: int | None) -> None:
        """``seconds`` of stream in the plan's period, and ``streams`` of an account; None for no limit. Raises `LimitInvalid`."""
        if not all(limit is None or 1 <= limit <= _MOST for limit in (seconds, streams)):
            raise LimitInvalid
        async with self._database.writing() as session:
            await session.merge(PlanRow(name=plan.value, seconds=seconds, streams=streams))


def limits_of(plan: Plan, row: PlanRow | None) -> Limits:
    """The limits of a plan; ``row``: what the database has of it, if anything."""
    default = DEFAULTS[plan]
    return default if row is None else Limits(replace(default.allowance, seconds=row.seconds), row.streams)
