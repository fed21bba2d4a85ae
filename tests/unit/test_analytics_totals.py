"""Sums of visits."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from analytics.tables import HourRow, VisitRow
from analytics.totals import COLUMNS, Totals, sums, totals_of

numbers = st.builds(Totals, *[st.integers(0, 2**40) for _ in fields(Totals)])


@given(numbers, numbers, numbers)
def test_sums_may_be_made_in_any_order(a: Totals, b: Totals, c: Totals) -> None:
    assert (a + b) + c == c + (b + a)
    assert a + Totals() == a
    assert (a + b).dwell_ms == a.dwell_ms + b.dwell_ms


def test_the_roll_ups_have_a_column_for_each_sum() -> None:
    kept = [column.name for column in HourRow.__table__.columns]
    assert kept == ["stream", "hour", *COLUMNS]
    assert [label.name for label in sums(50.0)] == list(COLUMNS)


def test_sums_of_nothing_are_zero() -> None:
    assert totals_of(dict.fromkeys(COLUMNS)) == Totals()


def test_no_column_could_hold_a_picture() -> None:
    """What is kept of a person are numbers and short words."""
    sizes = {column.name: getattr(column.type, "length", None) for column in VisitRow.__table__.columns}
    assert {name: size for name, size in sizes.items() if size is not None} == {"id": 36, "stream": 36, "gender": 6, "direction": 7}
    assert {column.type.python_type for column in VisitRow.__table__.columns} <= {str, int, float, bool}
