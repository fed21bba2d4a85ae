"""From what a machine carries to how many are needed: pure calculation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sensorium.bench.sessions import Figures

#: Machines are planned for this share of what they carry: cameras do not come evenly, and machines fail.
HEADROOM = 0.8


def search(trial: Callable[[int], Figures], p95_ms: float, most: int) -> list[Figures]:
    """What was measured on the way to the largest number of streams that is carried, in the order of the trials.

    Twice as many each time until it is too much, then halfway between what was carried and what was not; at most ``most``.
    """
    found: list[Figures] = []

    def is_carried(streams: int) -> bool:
        found.append(trial(streams))
        return found[-1].carried(p95_ms)

    low, high = 0, 1
    while high <= most and is_carried(high):
        low, high = high, min(2 * high, most) if high < most else most + 1
    while high - low > 1:
        middle = (low + high) // 2
        if is_carried(middle):
            low = middle
        else:
            high = middle
    return found


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a machine carries: ``streams`` of ``fps`` frames a second each, answered after ``p50_ms`` (the median) there."""

    streams: int
    fps: float
    p50_ms: float

    @classmethod
    def of(cls, found: list[Figures], fps: float, p95_ms: float) -> Sizing | None:
        """None when not even one stream is carried."""
        carried = [figures for figures in found if figures.carried(p95_ms)]
        if not carried:
            return None
        best = max(carried, key=lambda figures: figures.sessions)
        return cls(best.sessions, fps, best.p50_ms)

    def workers(self, wanted: int) -> int:
        """Workers like this one for so many streams, with `HEADROOM`."""
        return math.ceil(wanted / (self.streams * HEADROOM))

    def messages(self) -> int:
        """Messages of a worker, waiting and in hand, when it carries all that it can: frames that come in the time that one takes.

        With more than that a worker falls behind, with fewer it has time to spare: what KEDA should hold a worker at.
        """
        return max(1, round(HEADROOM * self.streams * self.fps * self.p50_ms / 1000))

    def most_replicas(self, wanted: int) -> int:
        """As many again as half of what is needed: a queue that has grown is to become short again."""
        return math.ceil(1.5 * self.workers(wanted))
