"""Whose face is it? An album as one matrix, and what was computed of its samples, kept.

Embeddings are float32 [d] of unit length, so that the cosine of two is their product.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the scores of one network become probabilities: a logistic curve."""

    #: The score at which it is as likely as not that the face is the person's.
    even: float
    #: How fast the logarithm of the odds grows, for each unit of the score.
    slope: float

    def confidence(self, scores: Array) -> Array:
        """The probability [...] that a face with these ``scores`` is the person's: 0 where there are no samples."""
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-self.slope * (np.asarray(scores, np.float64) - self.even))))


@dataclass(frozen=True, slots=True)
class Gallery:
    """The people of an album and the embeddings of their samples.

    ``people`` in the order of the album. ``samples`` float32 [n, d], the rows of one person one after another; ``firsts``
    int [q], the first row of each person who has any; ``known`` int [q], those persons' positions in ``people``.
    """

    people: tuple[str, ...]
    samples: Array
    firsts: Array
    known: Array

    @classmethod
    def of(cls, album: Mapping[str, Sequence[Array]]) -> Gallery:
        """From embeddings float32 [d] by person; a person may have none."""
        counts = np.array([len(samples) for samples in album.values()], np.intp)
        known = np.flatnonzero(counts)
        firsts = (np.cumsum(counts) - counts)[known]
        rows = [sample for samples in album.values() for sample in samples]
        return cls(tuple(album), np.stack(rows) if rows else np.empty((0, 0), np.float32), firsts, known)

    def scores(self, faces: Array) -> Array:
        """float32 [m, people] in -1..1 for ``faces`` float32 [m, d]; -inf for a person without samples.

        The mean of two cosines: that of the nearest sample, since a face resembles the sample in its own pose and light,
        and the mean over all samples, which a single bad sample moves little. One matrix product for all.
        """
        scores = np.full((len(faces), len(self.people)), -np.inf, np.float32)
        if len(self.known) and len(faces):
            cosines = self.samples @ np.asarray(faces, np.float32).T
            counts = np.diff(np.append(self.firsts, len(self.samples)))
            means = np.add.reduceat(cosines, self.firsts, axis=0) / counts[:, None]
            scores[:, self.known] = ((np.maximum.reduceat(cosines, self.firsts, axis=0) + means) / 2).T
        return scores


def smooth(scores: Array, people: Sequence[str], before: Mapping[str, float], gain: float) -> Array:
    """float [people]: ``scores`` of this frame drawn towards those ``before``, of the likeliest few of the last frames.

    ``gain`` in 0..1 is the weight of this frame. Whoever is not among those few had at most the least of their scores.
    """
    if not before:
        return scores
    least = min(before.values())
    earlier = np.minimum(scores, least)
    positions = {name: position for position, name in enumerate(people) if name in before}
    for name, position in positions.items():
        earlier[position] = before[name]
    # whoever has no sample (any more) is not recognised, whatever was seen before
    return np.where(np.isfinite(scores), earlier + gain * (scores - earlier), -np.inf)


def likeliest(scores: Array, people: Sequence[str], most: int) -> dict[str, float]:
    """The ``most`` highest finite scores [people] by name."""
    order = np.argsort(-scores, kind="stable")[:most]
    return {people[position]: round(float(scores[position]), 4) for position in order if np.isfinite(scores[position])}


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """The values that were used last, at most so many. For several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        return self.get_all((key,)).get(key)

    def get_all(self, keys: Iterable[Key]) -> dict[Key, Value]:
        """Those that are there, by key."""
        found = {}
        with self._lock:
            for key in keys:
                if key in self._values:
                    self._values.move_to_end(key)
                    found[key] = self._values[key]
        return found

    def put(self, key: Key, value: Value) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)

    def forget(self, key: Key) -> bool:
        """Whether it was there."""
        with self._lock:
            return self._values.pop(key, None) is not None

    def clear(self) -> None:
        with self._lock:
            self._values.clear()
