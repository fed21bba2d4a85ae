"""Reading visits: sums over spans of time, and the visits themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import CTE, BigInteger, Integer, Select, and_, column, func, select, union_all, values
from sqlalchemy.ext.asyncio import AsyncSession

from analytics.plans import sums_in_each
from analytics.tables import HOUR_MS, HourRow, RollUpRow, VisitRow
from analytics.totals import COLUMNS, DEFINITION, HAPPINESS_UNIT, Totals, stored_senior_age, sums, totals_of
from database.engine import Database
from shared.visits import Visit

#: Spans of one question.
MOST_SPANS = 100
_SENIOR_AGE = 50.0  # before any recorder ran

#: (number of the span, begin, end), the last two in milliseconds since 1970.
_Piece = tuple[int, int, int]


class Audience:
    """The visits in the database, for those who ask. Every method may raise `shared.errors.StoreAway`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def senior_age(self) -> float:
        """Where seniors begin, in years: what the recorders were told."""
        async with self._database.reading() as session:
            made = await session.get(RollUpRow, DEFINITION)
        return _SENIOR_AGE if made is None else made.senior_age

    async def totals(self, stream: str, edges: Sequence[int], senior_age: float | None = None) -> list[Totals]:
        """Of the visits that began in each span [edges[i], edges[i + 1]), milliseconds since 1970, never falling; at most `MOST_SPANS` spans.

        Whole hours come from the roll-ups, the rest of a span from the visits themselves, all in one statement and so of one
        moment. ``senior_age`` is the one of the roll-ups unless given.
        """
        if len(edges) - 1 > MOST_SPANS:
            raise ValueError(f"at most {MOST_SPANS} spans at a time")
        totals = [Totals() for _ in edges[1:]]
        whole, rest = _cut(edges)
        seniors = stored_senior_age() if senior_age is None else senior_age
        async with self._database.reading() as session:
            parts = []
            if whole:
                rolled = [func.sum(getattr(HourRow, name)).label(name) for name in COLUMNS]
                parts.append(await _sums(session, stream, _pieces("whole", whole), HourRow, rolled))
            if rest:
                parts.append(await _sums(session, stream, _pieces("rest", rest), VisitRow, sums(seniors)))
            for row in (await session.execute(union_all(*parts))).mappings() if parts else ():
                totals[row["span"]] = totals[row["span"]] + totals_of(dict(row))
        return totals

    async def count(self, stream: str, begin: int, end: int) -> int:
        """How many visits began in [begin, end), milliseconds since 1970."""
        (total,) = await self.totals(stream, [begin, end])
        return total.visits

    async def visits(self, stream: str, begin: int, end: int, *, offset: int, limit: int) -> list[Visit]:
        """Those that began in [begin, end), by their beginning and id, after leaving out the first ``offset``."""
        mine = (VisitRow.stream == stream, VisitRow.started >= begin, VisitRow.started < end)
        order = (VisitRow.started, VisitRow.id)
        # What is left out is counted off in the index, without looking at the visits.
        chosen = select(VisitRow.id).where(*mine).order_by(*order).offset(offset).limit(limit)
        async with self._database.reading() as session:
            rows = await session.scalars(select(VisitRow).where(VisitRow.id.in_(chosen)).order_by(*order))
            return [_visit(row) for row in rows]


def _cut(edges: Sequence[int]) -> tuple[list[_Piece], list[_Piece]]:
    """Whole hours of the spans, and the rest of the spans."""
    whole: list[_Piece] = []
    rest: list[_Piece] = []
    for index, (begin, end) in enumerate(pairwise(edges)):
        first, last = -(-begin // HOUR_MS) * HOUR_MS, end // HOUR_MS * HOUR_MS
        if first < last:
            whole.append((index, first, last))
        rest += [(index, a, b) for a, b in _rest(begin, end, first, last)]
    return whole, rest


def _rest(begin: int, end: int, first: int, last: int) -> Iterator[tuple[int, int]]:
    """What the whole hours from ``first`` to ``last`` leave of [begin, end)."""
    for a, b in [(begin, end)] if first >= last else [(begin, first), (last, end)]:
        if a < b:
            yield a, b


def _pieces(name: str, pieces: Sequence[_Piece]) -> CTE:
    shape = values(column("span", Integer), column("begins", BigInteger), column("ends", BigInteger), name=name)
    return shape.data(pieces).cte(name)


async def _sums(session: AsyncSession, stream: str, pieces: CTE, table: type[HourRow | VisitRow], added: Sequence[Any]) -> Select[Any]:
    moment = HourRow.hour if table is HourRow else VisitRow.started
    inside = and_(table.stream == stream, moment >= pieces.c.begins, moment < pieces.c.ends)
    return await sums_in_each(session, pieces, [pieces.c.span], table, inside, added)


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
