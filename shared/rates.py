"""How often something happens, over the last few seconds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

#: The span over which a rate is taken, in seconds.
SPAN = 5


class Rate:
    """Counts events by whole seconds and tells how many there were a second, of late."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._seconds: deque[list[int]] = deque()  # [second, events]

    def count(self, events: int = 1) -> None:
        second = int(self._clock())
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += events
        else:
            self._seconds.append([second, events])
            while self._seconds[0][0] < second - SPAN:
                self._seconds.popleft()

    @property
    def per_second(self) -> float:
        """Over the last `SPAN` seconds, or since counting began if that is shorter (but at least one second)."""
        now = self._clock()
        events = sum(count for second, count in self._seconds if second > now - SPAN - 1)
        return events / min(SPAN, max(1.0, now - self._began))
