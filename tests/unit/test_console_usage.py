"""What was used of a plan, in words and as a bar."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from accounts.model import Limits
from console.usage import bar_of, in_words, plan_in_words
from shared.usage import Allowance

THEN = datetime(2024, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (250, "4 min 10 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (7505, "2 h 5 min"),
        (43200, "12 h"),
    ],
)
def test_durations_in_words(seconds: int, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("used", "shown", "state"),
    [(0, 0, "well"), (8999, 8999, "well"), (9000, 9000, "nearly"), (10_000, 10_000, "full"), (12_000, 10_000, "full")],
)
def test_bars_warn_before_the_end_and_do_not_grow_beyond_it(used: int, shown: int, state: str) -> None:
    bar = bar_of(Allowance("developer", 10_000, "month", "account", paid=False), used, THEN)
    assert (bar.used, bar.most, bar.state) == (shown, 10_000, state)
    assert bar.text == f"{in_words(used)} of 2 h 46 min this month"


def test_without_a_limit_there_is_nothing_to_fill() -> None:
    bar = bar_of(Allowance("enterprise", None, "day", "stream", paid=True), 60, THEN)
    assert (bar.most, bar.text) == (None, "1 min this day, no limit")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(Allowance("d", 10_800, "month", "account", paid=False), 1), "One stream an account, 3 h of stream a month."),
        (Limits(Allowance("e", 43_200, "day", "stream", paid=True), None), "Any number of streams an account, 12 h of stream a day each."),
        (Limits(Allowance("e", None, "day", "stream", paid=True), 5), "5 streams an account, without a limit of time."),
    ],
)
def test_plans_in_words(limits: Limits, words: str) -> None:
    assert plan_in_words(limits) == words
