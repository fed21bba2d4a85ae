"""What visits add up to: definition 1 of the metrics, as SQL over the visits. docs/metrics.md says the same in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, select

from analytics.tables import RollUpRow, VisitRow

DEFINITION = 1
#: Milliseconds: in view at least this long passes by; standing at least this long and looking longer than this is interested;
#: looking longer than that at all watches.
PASSING_MS, STOPPED_MS, LOOKED_MS = 1000, 3000, 1000
#: Happiness is kept in ten thousandths, so that its sum is exact.
HAPPINESS_UNIT = 10_000


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the visits that began in a span of time. Times in milliseconds.

    ``visits``: all; ``passing_by``: in view for at least 1 s, and of those ``dwell_ms`` in view; ``watchers``: of those, who looked for more
    than 1 s, and their ``watched_ms``; ``interested``: stopped for at least 3 s and looked for more than 1 s. Everything below is of
    interested people: ``stop_ms``, ``attention_ms``, genders, categories, ``happiness`` in ten thousandths over ``happy_count`` people.
    """

    visits: int = 0
    passing_by: int = 0
    watchers: int = 0
    dwell_ms: int = 0
    watched_ms: int = 0
    interested: int = 0
    stop_ms: int = 0
    attention_ms: int = 0
    female: int = 0
    male: int = 0
    young_female: int = 0
    young_male: int = 0
    senior_female: int = 0
    senior_male: int = 0
    happiness: int = 0
    happy_count: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, name) + getattr(other, name) for name in COLUMNS))


COLUMNS = tuple(field.name for field in fields(Totals))


def totals_of(row: Mapping[str, Any]) -> Totals:
    """From a row of sums, in which None stands for a sum of nothing."""
    return Totals(**{name: int(row[name] or 0) for name in COLUMNS})


def stored_senior_age() -> ColumnElement[Any]:
    """Where seniors begin, in years, as the roll-ups were made: whoever reads or writes them uses the same, whatever its settings say."""
    return select(RollUpRow.senior_age).where(RollUpRow.definition == DEFINITION).scalar_subquery()


def sums(senior_age: float | ColumnElement[Any]) -> list[ColumnElement[Any]]:
    """The columns of `Totals` as aggregates over `VisitRow`, labelled with their names. ``senior_age``: where seniors begin, in years."""
    passing = VisitRow.view_ms >= PASSING_MS
    watching = and_(passing, VisitRow.attention_ms > LOOKED_MS)
    interested = and_(VisitRow.stop_ms >= STOPPED_MS, VisitRow.attention_ms > LOOKED_MS)
    female, male = VisitRow.gender == "female", VisitRow.gender == "male"
    young, senior = VisitRow.age < senior_age, VisitRow.age >= senior_age
    return [
        func.count().label("visits"),
        _count(passing).label("passing_by"),
        _count(watching).label("watchers"),
        _sum(VisitRow.view_ms, passing).label("dwell_ms"),
        _sum(VisitRow.attention_ms, watching).label("watched_ms"),
        _count(interested).label("interested"),
        _sum(VisitRow.stop_ms, interested).label("stop_ms"),
        _sum(VisitRow.attention_ms, interested).label("attention_ms"),
        _count(and_(interested, female)).label("female"),
        _count(and_(interested, male)).label("male"),
        _count(and_(interested, young, female)).label("young_female"),
        _count(and_(interested, young, male)).label("young_male"),
        _count(and_(interested, senior, female)).label("senior_female"),
        _count(and_(interested, senior, male)).label("senior_male"),
        _sum(VisitRow.happiness, interested).label("happiness"),
        _count(and_(interested, VisitRow.happiness.is_not(None))).label("happy_count"),
    ]


def _count(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _sum(column: Any, condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(case((condition, column), else_=0)), 0)
