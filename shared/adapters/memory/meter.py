"""Seconds of stream, counted in this process's memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.usage import Allowance, Count, DayOfUse, Known, Metered, day_of, month_of


@dataclass(slots=True)
class _Counter:
    """Seconds on ``day``, and in the month that begins with the day ``month``."""

    day: int
    today: int
    month: int
    this_month: int

    def turn(self, day: int, month: int) -> None:
        """It is this day of this month."""
        if self.day != day:
            self.day, self.today = day, 0
        if self.month != month:
            self.month, self.this_month = month, 0

    def of(self, allowance: Allowance) -> int:
        return self.today if allowance.period == "day" else self.this_month

    def add(self) -> None:
        self.today += 1
        self.this_month += 1


class MemoryMeter:
    """`shared.ports.Meter` in memory."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._counters: dict[Metered | str, _Counter] = {}
        self._last: dict[Metered, int] = {}
        self._unsaved: dict[tuple[Metered, int], int] = {}

    async def count(self, who: Metered, allowance: Allowance) -> Count:
        now = self._clock()
        second, day = int(now), day_of(now)
        stream, account = self._counters.get(who), self._counters.get(who.account)
        if stream is None or account is None:
            return Count(False, 0, now, known=False)
        for counter in (stream, account):
            counter.turn(day, month_of(day)[0])
        limited = stream if allowance.scope == "stream" else account
        counted = self._last.get(who) in (second, second + 1)  # a clock that was set back by a moment
        if not counted:
            if allowance.seconds is not None and limited.of(allowance) >= allowance.seconds:
                return Count(False, limited.of(allowance), now)
            stream.add()
            account.add()
            self._last[who] = second
            self._unsaved[who, day] = stream.today
        return Count(True, limited.of(allowance), now)

    async def begin(self, who: Metered, known: Known) -> None:
        month = month_of(known.day)[0]
        self._counters.setdefault(who, _Counter(known.day, known.stream_day, month, known.stream_month))
        self._counters.setdefault(who.account, _Counter(known.day, known.account_day, month, known.account_month))

    async def unsaved(self, lease: float) -> list[DayOfUse]:
        return [DayOfUse(who.account, who.stream, day, seconds) for (who, day), seconds in self._unsaved.items()]

    async def saved(self, days: Sequence[DayOfUse]) -> None:
        for one in days:
            key = Metered(one.account, one.stream), one.day
            if self._unsaved.get(key) == one.seconds:
                del self._unsaved[key]
