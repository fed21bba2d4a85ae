"""YAMNet: which of 521 kinds of sound of AudioSet are heard in 0.975 s.

Input ``waveform`` float32 [n, 15600], mono, 16 kHz, -1..1. Output ``scores`` float32 [n, 521]: for each
class, in the order of the class map, how far it is heard, 0 to 1, each by itself: several may be high, and
all may be low.

Scores are no probabilities of what an answer claims, which is that the class is among what sounds from the
beginning of a sound to its end. `Evidence` pools the excerpts of a sound, and `confidences` turns what was
pooled into a probability, with two numbers fitted to labelled sounds that the network did not see (`python -m
bench.sound_classes`).

The table ``audioset.csv`` beside this file has a row for each class: its ``mid`` (AudioSet's identifier), its
``name``, the classes that it ``implies``, and the ``threshold`` of confidence from which it is named; none:
never, for classes that say how something was recorded (a small room, an echo) and not what was heard. A class
implies those above it in AudioSet's ontology on every path: a bark implies a dog, but a hiss, which cats,
snakes and steam have, implies none of them.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.errors import ModelCorrupt
from workers.contract import Network
from workers.lib.excerpts import Format, Stored

MODEL = "yamnet"
CLASS_MAP = "yamnet-classes"
CLASSES = 521
#: Excerpts overlap by half. The 0.1 s before a sound hold its beginning where it swells; 8 ms are more than
#: the resampler is late at 4 kHz.
HEARD = Format(rate=16_000, length=15_600, step=7_680, before=1_600, late=128)

Scores = npt.NDArray[np.float32]

_TABLE = Path(__file__).with_name("audioset.csv")
_AT_A_TIME = 16  # excerpts: 3 MB each inside the network
_FULL = 32768.0
#: A quiet recording is made louder, so that its peak is this, but not by more than 20 dB: what is quieter
#: still is mostly noise.
_PEAK = _FULL / 2
_MOST_GAIN = 10.0
#: Log odds beyond what the network is able to tell apart.
_LOWEST, _HIGHEST = -9.2, 6.9
#: A running mean over about so many excerpts (2.4 s), of which the highest counts...
_SPAN = 5
#: ...less so much for each excerpt since (half a minute later: by 1.2), so that hours of sound do not pile up
#: chances.
_FADE = 0.02
#: From the pooled log odds to those of being right: slope and offset.
_SLOPE, _OFFSET = 0.895, 1.159


@dataclass(slots=True)
class Evidence:
    """What the excerpts of one sound have given: running mean of the log odds float32 [521] as a weighted
    ``total`` and its ``weight``, the highest so far ``best`` float32 [521], how many excerpts there were
    (``count``), and the highest magnitude of their samples (``peak``)."""

    total: Scores = field(default_factory=lambda: np.zeros(CLASSES, np.float32))
    weight: float = 0.0
    best: Scores = field(default_factory=lambda: np.full(CLASSES, _LOWEST, np.float32))
    count: int = 0
    peak: int = 1

    def gain(self, excerpt: Stored) -> float:
        """By how much to amplify the next excerpt, int16 [15600]: 1 to 10."""
        self.peak = max(self.peak, int(np.abs(excerpt.astype(np.int32)).max()))
        return float(np.clip(_PEAK / self.peak, 1.0, _MOST_GAIN))

    def add(self, scores: Scores) -> None:
        """``scores`` float32 [521] of the next excerpt."""
        with np.errstate(divide="ignore"):
            odds = np.clip(np.log(scores) - np.log1p(-scores), _LOWEST, _HIGHEST)
        keep = 1 - 1 / _SPAN
        self.total = (self.total * keep + odds).astype(np.float32)
        self.weight = self.weight * keep + 1
        self.count += 1
        mean = self.total / np.float32(self.weight)
        # Means over fewer excerpts vary more: their highest would say more than there is.
        self.best = mean if self.count <= _SPAN else np.maximum(self.best - np.float32(_FADE), mean)


@dataclass(frozen=True, slots=True)
class Heard:
    """A class that was heard, and the probability that it was."""

    mid: str
    name: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The classes in the network's order. ``thresholds`` float32 [521], infinite for what is never named;
    ``implied``: the numbers of the classes that each implies; ``depth``: how many those are."""

    mids: tuple[str, ...]
    names: tuple[str, ...]
    implied: tuple[tuple[int, ...], ...]
    thresholds: Scores

    def named(self, evidence: Evidence, most: int) -> list[Heard]:
        """At most ``most`` classes by falling confidence, the more particular one first where they are equal.

        What a class implies is at least as probable as the class, and named with it.
        """
        if not evidence.count:
            return []
        chances = confidences(evidence)
        for number, above in enumerate(self.implied):
            for other in above:
                chances[other] = max(chances[other], chances[number])
        named = set(np.flatnonzero(chances >= self.thresholds).tolist())
        named |= {other for number in named for other in self.implied[number] if np.isfinite(self.thresholds[other])}
        order = sorted(named, key=lambda number: (-chances[number], -len(self.implied[number]), number))
        return [Heard(self.mids[each], self.names[each], round(float(chances[each]), 3)) for each in order[:most]]


def confidences(evidence: Evidence) -> npt.NDArray[np.float64]:
    """float64 [521]: how probable it is that each class is among what sounds, as far as the network can
    tell."""
    return 1 / (1 + np.exp(-(_SLOPE * evidence.best.astype(np.float64) + _OFFSET)))


def read_vocabulary(class_map: Path) -> Vocabulary:
    """The classes of a class map (`CLASS_MAP`). Raises `ModelCorrupt` for one of another network."""
    with class_map.open(encoding="utf-8", newline="") as file:
        mapped = [(row["mid"], row["display_name"]) for row in csv.DictReader(file)]
    with _TABLE.open(encoding="utf-8", newline="") as file:
        rows = {row["mid"]: row for row in csv.DictReader(file)}
    mids = [mid for mid, _ in mapped]
    if len(mids) != CLASSES or set(mids) != set(rows):
        raise ModelCorrupt(f"{class_map} has other classes than the network {MODEL}; run: sensorium models pull {CLASS_MAP}")
    numbers = {mid: number for number, mid in enumerate(mids)}
    return Vocabulary(
        mids=tuple(mids),
        names=tuple(name for _, name in mapped),
        implied=tuple(tuple(numbers[above] for above in rows[mid]["implies"].split()) for mid in mids),
        thresholds=np.array([float(rows[mid]["threshold"] or np.inf) for mid in mids], np.float32),
    )


def hear(network: Network, excerpts: Sequence[Stored], gains: Sequence[float]) -> Scores:
    """float32 [n, 521], the scores of excerpts int16 [15600] each, amplified by ``gains``."""
    scores = np.empty((len(excerpts), CLASSES), np.float32)
    for first in range(0, len(excerpts), _AT_A_TIME):
        factors = np.array(gains[first : first + _AT_A_TIME], np.float32)[:, None] / np.float32(_FULL)
        some = np.stack(excerpts[first : first + _AT_A_TIME]) * factors
        scores[first : first + len(some)] = network.run({"waveform": some})["scores"]
    return scores
