"""One stay in view: where somebody went, and for how long they stood."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from typing import Any

import numpy.typing as npt

from shared.visits import Direction
from workers.scene.clock import MAX_STEP, Step

Array = npt.NDArray[Any]

#: Somebody whose head went no further than this in so many seconds stood still all the while: in upper bodies
#: (about 0.85 m), where coming nearer or going away counts as the change of the size's logarithm times the
#: other.
STILL_SECONDS, STILL_DISTANCE, STILL_NEARER = 1.0, 0.25, 0.7
#: Within this distance somebody is at a place already, or still.
STILL_NEAR = 0.1
#: The path is remembered in steps of at least so many seconds.
_PATH_STEP = 0.095
#: From this displacement on, in upper bodies, a path has a direction.
DIRECTED = 0.4
#: A visit that lasts is told again each so many seconds.
PROVISIONAL_SECONDS = 60.0


@dataclass(slots=True)
class Stay:
    """One entity's stay in view. Times in seconds."""

    first: float
    last: float
    stop: float = 0.0
    attention: float = 0.0
    still: bool = False
    #: Until when the stop is counted.
    counted: float = -1e9
    #: What the stop was before the present one.
    rested: float = 0.0
    #: [time, x, y, log height] of the last second.
    path: list[list[float]] = field(default_factory=list)
    #: [x, y, height] where it began.
    origin: list[float] = field(default_factory=list)
    offset: list[float] = field(default_factory=lambda: [0.0, 0.0])
    #: The largest displacement so far, in upper bodies.
    furthest: float = 0.0
    #: The last provisional visit.
    told: float = 0.0
    #: How many events of age and gender there were.
    tellings: dict[str, int] = field(default_factory=dict)

    def move(self, box: Array, step: Step) -> None:
        """Seen in this frame, at ``box`` float [4] (head to hips, smoothed; pixels)."""
        x, y, height = float(box[0] + box[2] / 2), float(box[1] + 0.15 * box[3]), max(float(box[3]), 1.0)
        if not self.origin:
            self.origin = [round(x, 1), round(y, 1), round(height, 1)]
        self._stand(step, x, y, math.log(height))
        scale = math.sqrt(self.origin[2] * height)
        self.offset = [round((x - self.origin[0]) / scale, 3), round((y - self.origin[1]) / scale, 3)]
        self.furthest = max(self.furthest, round(math.hypot(*self.offset), 3))
        self.last = step.now

    def _stand(self, step: Step, x: float, y: float, size: float) -> None:
        """Count standing: from coming to a place until leaving it, which is known up to a second later."""
        now = step.now
        since_last = min(now - self.last, MAX_STEP) if self.path else 0.0
        here = [round(now, 3), round(x, 1), round(y, 1), round(size, 3)]
        apart = [_apart(point, here) for point in self.path]
        if max(apart, default=0.0) >= STILL_DISTANCE:
            if self.still:
                left = _last_near(self.path)
                self.stop = round(max(self.rested, self.stop - max(0.0, self.counted - left)), 4)
            self.still = False
        elif self.still:
            self.stop = round(self.stop + since_last, 4)
        elif self.path and now - self.path[0][0] >= STILL_SECONDS - 1e-6:
            places = zip(self.path, _maxima(apart), strict=True)
            came = next((point[0] for point, after in places if after < STILL_NEAR), now)
            self.still, self.rested = True, self.stop
            self.stop = round(self.stop + min(now - came, now - self.counted, MAX_STEP), 4)
        if self.still:
            self.counted = now
        if not self.path or now - self.path[-1][0] >= _PATH_STEP:
            self.path.append(here)
        *before, last = self.path
        self.path = [*(point for point in before if now - point[0] <= STILL_SECONDS + 1e-6), last]

    @property
    def direction(self) -> Direction:
        """Where the person went in the picture, from the beginning of the stay."""
        x, y = self.offset
        if math.hypot(x, y) < DIRECTED:
            return "unknown"
        if abs(x) >= abs(y):
            return "right" if x > 0 else "left"
        return "down" if y > 0 else "up"

    def provisional_is_due(self, now: float) -> bool:
        """Whether the visit has lasted so long that it is to be told before it ends; yes once each minute."""
        if self.last - max(self.told, self.first) < PROVISIONAL_SECONDS:
            return False
        self.told = now
        return True


def _apart(one: list[float], other: list[float]) -> float:
    """The distance of two points of a path, in upper bodies."""
    scale = math.exp((one[3] + other[3]) / 2)
    return math.hypot(one[1] - other[1], one[2] - other[2]) / scale + STILL_NEARER * abs(one[3] - other[3])


def _maxima(values: list[float]) -> list[float]:
    """For each value the greatest from it on."""
    return list(accumulate(reversed(values), max))[::-1]


def _last_near(path: list[list[float]]) -> float:
    """Until when the path stayed near its first point."""
    near = takewhile(lambda point: _apart(path[0], point) < STILL_NEAR, path)
    return max(point[0] for point in near)
