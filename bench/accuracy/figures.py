"""Rows of the table, and the statistics in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations
_RESAMPLES = 2000


@dataclass(frozen=True)
class Row:
    """One figure: of which service, what was measured, the value, over how many items, its 95 % interval, and the goal."""

    service: str
    measure: str
    value: float
    items: int
    low: float | None = None
    high: float | None = None
    aim: str = ""

    @property
    def interval(self) -> str:
        return "–" if self.low is None or self.high is None else f"{self.low:.3g} – {self.high:.3g}"

    def text(self, other: Row | None = None) -> str:
        """The line of the table; ``other`` is the same measure with the networks of package registries."""
        figures = [f"{self.value:.3g}", str(self.items), self.interval]
        figures += ["", "", ""] if other is None else [f"{other.value:.3g}", str(other.items), other.interval]
        return f"| {self.service} | {self.measure} | {' | '.join(figures)} | {self.aim} |"


def share(service: str, measure: str, hits: Sequence[bool], aim: str = "") -> Row:
    """A share of items, with Wilson's interval (E. B. Wilson, 1927)."""
    count = len(hits)
    if not count:
        return Row(service, measure, math.nan, 0, aim=aim)
    p = sum(hits) / count
    centre = (p + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(p * (1 - p) / count + _Z**2 / (4 * count**2))
    return Row(service, measure, p, count, max(0.0, centre - half), min(1.0, centre + half), aim)


def mean(service: str, measure: str, values: Sequence[float], aim: str = "", statistic: str = "mean") -> Row:
    """The mean, median or 90th percentile of some values, with the bootstrap's percentile interval."""
    array = np.asarray(values, float)
    if not array.size:
        return Row(service, measure, math.nan, 0, aim=aim)
    of = {"mean": np.mean, "median": np.median, "p90": lambda x, axis=None: np.percentile(x, 90, axis=axis)}[statistic]
    picks = np.random.default_rng(0).integers(0, array.size, (_RESAMPLES, array.size))
    low, high = np.percentile(of(array[picks], axis=1), (2.5, 97.5))
    return Row(service, measure, float(of(array)), array.size, float(low), float(high), aim)


def calibration_error(service: str, measure: str, confidences: Sequence[float], right: Sequence[bool], aim: str = "") -> Row:
    """Expected calibration error over ten equal bins of confidence (Naeini et al., 2015)."""
    sure, good = np.asarray(confidences, float), np.asarray(right, float)
    bins = np.minimum((sure * 10).astype(int), 9)
    error = sum(
        np.sum(bins == b) / len(sure) * abs(good[bins == b].mean() - sure[bins == b].mean()) for b in range(10) if np.any(bins == b)
    )
    return Row(service, measure, float(error), len(sure), aim=aim)
