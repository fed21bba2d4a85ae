"""Running estimates of one person, which settle: what single looks at a face say, put together over time.

Expensive networks run only as often as they change something: the n-th measurement of a mean changes it by 1 / n at most, so it is due
n tenths of a second after the one before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.models import age_gender, expression

Array = npt.NDArray[Any]

#: Seconds from the n-th to the next measurement of age and gender: n times this, at most the other.
DUE_FACTOR, DUE_MOST = 0.1, 10.0
#: Expressions are looked at at most this often, in seconds, and smoothed with this time constant.
EXPRESSION_EVERY, EXPRESSION_SECONDS = 0.25, 0.5
#: The weight that settles an estimate to 1 - 1/e.
_SETTLING = 2.0
#: Frames of one person are not independent: together they are worth at most so many times one.
_GENDER_GAIN = 1.6
#: Sides of a face, in pixels, from which on it is as good as it gets, and how fast a turned one gets worse.
_GOOD_FACE = 80.0


def quality(box: Array, yaw: float, smallest: float) -> float:
    """How much a face says about who it is, 0..1: small and turned ones say little, those under ``smallest`` pixels nothing."""
    side = float(max(box[2], box[3]))
    if side < smallest:
        return 0.0
    return min(1.0, side / _GOOD_FACE) * max(0.05, math.cos(yaw)) ** 2


@dataclass(slots=True)
class Demography:
    """Age and gender. ``weight``: the sum of the qualities of ``count`` looks; ``age``: their weighted mean in years; ``spread``: the weighted
    sum of squared deviations; ``female``: the weighted mean of the log odds; ``due``: when the next look is, in seconds of the session."""

    age: float = 0.0
    spread: float = 0.0
    female: float = 0.0
    weight: float = 0.0
    count: int = 0
    due: float = 0.0

    def add(self, age: float, female: float, weight: float, now: float) -> None:
        """One look at the face: ``age`` in years, ``female`` log odds, ``weight`` as `quality` gives it."""
        if weight <= 0:
            return
        self.weight = round(self.weight + weight, 4)
        self.count += 1
        share, before = weight / self.weight, self.age
        self.age = round(before + share * (age - before), 3)
        self.spread = round(self.spread + max(0.0, weight * (age - before) * (age - self.age)), 3)  # rounding may turn its sign
        self.female = round(self.female + share * (female - self.female), 4)
        self.due = round(now + min(DUE_MOST, DUE_FACTOR * self.count), 3)

    @property
    def settled(self) -> float:
        """How little further looks will change, 0..1; it only grows."""
        return 1 - math.exp(-self.weight / _SETTLING)

    @property
    def age_confidence(self) -> float:
        """The probability that the true age is within `workers.models.age_gender.WITHIN` years."""
        if not self.weight:
            return 0.0
        error_of_mean = math.sqrt(self.spread / self.weight / self.count)
        return float(age_gender.age_confidence(np.array(self.age), np.array(error_of_mean)))

    @property
    def gender_confidence(self) -> float:
        """The probability that the likelier gender is right, 0.5..1; 0 while nothing is known."""
        gain = 1 + (_GENDER_GAIN - 1) * self.settled
        return 1 / (1 + math.exp(-abs(self.female) * gain)) if self.weight else 0.0


@dataclass(slots=True)
class Expressions:
    """``logs``: smoothed logarithms of the chances, in the order of `workers.models.expression.EXPRESSIONS`; ``happy``: the sum of happiness
    over ``seconds``; ``at``: when it was last looked at; ``quality`` of that look."""

    logs: list[float] = field(default_factory=list)
    happy: float = 0.0
    looks: int = 0
    at: float = -1e9
    quality: float = 0.0

    def add(self, logarithms: Array, weight: float, now: float) -> None:
        """One look: float [5], logarithms of chances as `workers.models.expression.estimate` gives them."""
        new = np.asarray(logarithms, np.float64)
        if self.logs:
            old = np.array(self.logs)
            share = 1 - math.exp(-max(now - self.at, 0.0) / EXPRESSION_SECONDS)
            new = old + max(share, 1 / (self.looks + 1) if self.looks < 3 else 0.0) * (new - old)
        self.logs = [round(float(value), 3) for value in new]
        self.at, self.quality = now, round(weight, 3)
        self.looks += 1
        self.happy = round(self.happy + self.values[expression.EXPRESSIONS.index("happiness")], 4)

    @property
    def values(self) -> list[float]:
        """Probabilities that add up to 1; empty while nothing is known."""
        return [float(value) for value in expression.chances(np.array(self.logs))] if self.logs else []

    @property
    def mean_happiness(self) -> float | None:
        return self.happy / self.looks if self.looks else None

    def is_due(self, now: float) -> bool:
        return now - self.at >= EXPRESSION_EVERY - 1e-6
