"""Measurements of one thing over frames: at first their mean, later one that forgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(slots=True)
class Smoothed:
    """``values`` after ``count`` measurements, the last of them in frame ``frame``. Numbers only, short in JSON."""

    values: list[float]
    count: int
    frame: int


def smooth(before: Smoothed | None, values: npt.NDArray[np.float64] | Sequence[float], *, frame: int, memory: float) -> Smoothed:
    """Take the measurement ``values`` of this frame into what is known from ``before``.

    ``memory``, in frames, at least 1: with 1 only the last measurement counts. The first measurements weigh equally, as in a
    mean; later a new one weighs 1 / memory, more after frames without one: an exponential mean over time, not over sightings.
    """
    new = np.asarray(values, np.float64)
    count = 1
    if before is not None:
        count = before.count + 1
        old = np.array(before.values)
        weight = max(1 / count, 1 - (1 - 1 / memory) ** max(1, frame - before.frame))
        new = old + weight * (new - old)
    return Smoothed(new.round(4).tolist(), count, frame)
