"""Seconds of stream: what a plan allows of them, and what was counted.

A second in which a stream sent at least one job is one second of stream, by the store's clock. Days and months are those
of UTC; days are numbered from 1970-01-01, which is day 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

DAY_SECONDS = 86_400

Period = Literal["day", "month"]
Scope = Literal["stream", "account"]


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a plan allows: ``seconds`` of stream each ``period``, None without a limit.

    ``scope``: whether each stream has them, or all streams of the account together. ``paid``: jobs go on while nobody can count.
    """

    plan: str
    seconds: int | None
    period: Period
    scope: Scope
    paid: bool


@dataclass(frozen=True, slots=True)
class Metered:
    """Who sends: a stream (its client_id) and the account that owns it."""

    account: str
    stream: str


@dataclass(frozen=True, slots=True)
class Known:
    """Seconds counted before, as the database has them: of the stream and of its account, on ``day`` and in its month."""

    day: int
    stream_day: int = 0
    stream_month: int = 0
    account_day: int = 0
    account_month: int = 0


@dataclass(frozen=True, slots=True)
class Count:
    """A meter's answer. ``used``: seconds of the allowance's period so far, the present one included if it is ``granted``.

    ``now``: the store's time, seconds since 1970. ``known``: False when the meter has nothing of the stream or its account
    (any more); then nothing was counted, and it has to be told with `shared.ports.Meter.begin` first.
    """

    granted: bool
    used: int
    now: float
    known: bool = True

    @property
    def left(self) -> float:
        """Seconds until the counted second ends."""
        return 1 - self.now % 1


@dataclass(frozen=True, slots=True)
class DayOfUse:
    """Seconds of a stream on one day, so far. Of two of the same day the larger one is the newer."""

    account: str
    stream: str
    day: int
    seconds: int


def day_of(now: float) -> int:
    """The number of the day of this moment (seconds since 1970)."""
    return int(now // DAY_SECONDS)


def month_of(day: int) -> tuple[int, int]:
    """The first day of this day's month, and that of the month after it."""
    first = _date(day).replace(day=1)
    return _number(first), _number((first + timedelta(days=32)).replace(day=1))


def period_of(period: Period, now: float) -> tuple[int, int]:
    """Begin and end, in seconds since 1970, of the period that this moment is in."""
    day = day_of(now)
    first, after = (day, day + 1) if period == "day" else month_of(day)
    return first * DAY_SECONDS, after * DAY_SECONDS


def _date(day: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)


def _number(date: datetime) -> int:
    return (date - datetime(1970, 1, 1, tzinfo=UTC)).days
