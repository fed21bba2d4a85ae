"""Days, months and periods of the plans."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.usage import Count, day_of, month_of, period_of


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@given(st.integers(0, 7_000_000_000))
def test_a_moment_is_in_its_day_and_month(now: int) -> None:
    moment = datetime.fromtimestamp(now, UTC)
    begin, end = (datetime.fromtimestamp(second, UTC) for second in period_of("day", now))
    assert begin == moment.replace(hour=0, minute=0, second=0, microsecond=0)
    assert end - begin == timedelta(days=1)
    begin, end = (datetime.fromtimestamp(second, UTC) for second in period_of("month", now))
    assert (begin.year, begin.month, begin.day) == (moment.year, moment.month, 1)
    assert (end.day, (end - timedelta(days=1)).month) == (1, moment.month)


@pytest.mark.parametrize(
    ("now", "begin", "end"),
    [
        ("2024-02-29T23:59:59.999+00:00", "2024-02-01T00:00+00:00", "2024-03-01T00:00+00:00"),
        ("2024-03-01T00:00:00+00:00", "2024-03-01T00:00+00:00", "2024-04-01T00:00+00:00"),
        ("2025-12-31T12:00:00+00:00", "2025-12-01T00:00+00:00", "2026-01-01T00:00+00:00"),
        ("2026-03-29T01:30:00+01:00", "2026-03-01T00:00+00:00", "2026-04-01T00:00+00:00"),
    ],
)
def test_months(now: str, begin: str, end: str) -> None:
    assert period_of("month", at(now)) == (at(begin), at(end))


def test_days_are_counted_from_1970() -> None:
    assert day_of(at("1970-01-02T00:00+00:00")) == 1
    assert month_of(0) == (0, 31)


def test_what_is_left_of_a_second() -> None:
    assert Count(True, 1, 1000.0).left == 1
    assert Count(True, 1, 1000.75).left == pytest.approx(0.25)
