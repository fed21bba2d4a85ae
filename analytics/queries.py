"""Reading visits: sums over spans of time, and the visits themselves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import Select, func, literal, select, union_all

from analytics.tables import HOUR_MS, HourRow, RollUpRow, VisitRow
from analytics.totals import COLUMNS, DEFINITION, HAPPINESS_UNIT, Totals, sums, totals_of
from database.engine import Database
from shared.visits import Visit

#: Spans of one question.
MOST_SPANS = 100
_SENIOR_AGE = 50.0  # before any recorder ran


class Audience:
    """The visits in the database, for those who ask. Every method may raise `shared.errors.StoreAway`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def senior_age(self) -> float:
        """Where seniors begin, in years: what the recorders were told."""
        async with self._database.reading() as session:
            made = await session.get(RollUpRow, DEFINITION)
        return _SENIOR_AGE if made is None else made.senior_age

    async def totals(self, stream: str, edges: Sequence[int], senior_age: float) -> list[Totals]:
        """Of the visits that began in each span [edges[i], edges[i + 1]), milliseconds since 1970, rising; at most `MOST_SPANS` spans.

        Whole hours come from the roll-ups, the rest of a span from the visits themselves.
        """
        if len(edges) - 1 > MOST_SPANS:
            raise ValueError(f"at most {MOST_SPANS} spans at a time")
        parts = [part for index, span in enumerate(pairwise(edges)) for part in _parts(stream, index, *span, senior_age)]
        totals = [Totals() for _ in edges[1:]]
        if not parts:
            return totals
        async with self._database.reading() as session:
            for row in (await session.execute(union_all(*parts))).mappings():
                totals[row["span"]] = totals[row["span"]] + totals_of(dict(row))
        return totals

    async def count(self, stream: str, begin: int, end: int) -> int:
        """How many visits began in [begin, end), milliseconds since 1970."""
        (total,) = await self.totals(stream, [begin, end], await self.senior_age())
        return total.visits

    async def visits(self, stream: str, begin: int, end: int, *, offset: int, limit: int) -> list[Visit]:
        """Those that began in [begin, end), by their beginning and id, after leaving out the first ``offset``."""
        mine = _mine(stream, begin, end)
        chosen = select(VisitRow).where(*mine).order_by(VisitRow.started, VisitRow.id).offset(offset).limit(limit)
        async with self._database.reading() as session:
            return [_visit(row) for row in await session.scalars(chosen)]


def _mine(stream: str, begin: int, end: int) -> list[Any]:
    return [VisitRow.stream == stream, VisitRow.started >= begin, VisitRow.started < end]


def _parts(stream: str, index: int, begin: int, end: int, senior_age: float) -> list[Select[Any]]:
    """The questions whose sum is the span: to the first whole hour, whole hours, from the last whole hour."""
    first, last = -(-begin // HOUR_MS) * HOUR_MS, end // HOUR_MS * HOUR_MS
    span = literal(index).label("span")
    spans = [(begin, end)] if first >= last else [(begin, first), (last, end)]
    parts: list[Select[Any]] = [select(span, *sums(senior_age)).where(*_mine(stream, a, b)) for a, b in spans if a < b]
    if first < last:
        whole = [func.sum(getattr(HourRow, name)).label(name) for name in COLUMNS]
        parts.append(select(span, *whole).where(HourRow.stream == stream, HourRow.hour >= first, HourRow.hour < last))
    return parts


def _visit(row: VisitRow) -> Visit:
    return Visit(
        id=row.id,
        started=row.started / 1000,
        view_seconds=row.view_ms / 1000,
        stop_seconds=row.stop_ms / 1000,
        attention_seconds=row.attention_ms / 1000,
        age=row.age,
        gender=row.gender,  # type: ignore[arg-type]
        happiness=None if row.happiness is None else row.happiness / HAPPINESS_UNIT,
        direction=row.direction,  # type: ignore[arg-type]
        closed=row.closed,
    )
