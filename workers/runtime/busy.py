"""How busy the model threads are, measured in them: waiting for a thread is not taken for computing."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from shared import metrics

T = TypeVar("T")


class BusyTime:
    """The time that one service computes."""

    def __init__(self, service: str, threads: int) -> None:
        """``threads``: that the services of this process share."""
        self._threads = threads
        self._meter = metrics.BUSY_SECONDS.labels(service)
        #: When each piece of work began that a thread has now, by its number.
        self._running: dict[int, float] = {}
        self._numbers = count()
        #: Seconds of all work that is done.
        self._done = 0.0
        #: When `share` was asked for last, and the sum of seconds then.
        self._told = (time.perf_counter(), 0.0)

    def measured(self, work: Callable[[], T]) -> tuple[T, float]:
        """What ``work`` returns, and the seconds that it took.

        Called in model threads; what it writes is written in one step each.
        """
        number, begin = next(self._numbers), time.perf_counter()
        self._running[number] = begin
        try:
            return work(), time.perf_counter() - begin
        finally:
            self._running.pop(number, None)

    def add(self, seconds: float) -> None:
        """Work is done; called in the event loop."""
        self._done += seconds
        self._meter.inc(seconds)

    def share(self) -> float:
        """How much of all threads' time was computing since this was asked before, 0 to 1."""
        now = time.perf_counter()
        # A batch that is between a thread and the loop is in neither sum: the next telling has it.
        busy = self._done + sum(now - begin for begin in list(self._running.values()))
        (before, busy_before), self._told = self._told, (now, busy)
        share = (busy - busy_before) / max(1e-9, (now - before) * self._threads)
        return min(1.0, max(0.0, share))
