"""Parts of speech of English words (Penn Treebank tags), by an averaged perceptron (M. Collins, 2002).

The weights are hibari's (``tagger.json.gz``: Apache-2.0, Maureese Williams; trained on spaCy's tags), and so are the features, which
must be those of its training.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Self

import numpy as np

_Weights = Mapping[str, Mapping[str, float]]

_START = ("-START2-", "-START-")
_END = ("-END-", "-END2-")
_CONTRACTED = re.compile(r"(?i)(.+?)(n't|'(?:s|re|ve|ll|d|m))$")


class Tagger:
    """The weights lie in three arrays, not in tens of thousands of dictionaries: a tenth of the memory."""

    def __init__(self, known: Mapping[str, str], tags: Sequence[str], vocabulary: Iterable[str], weights: _Weights) -> None:
        """``known``: words of one dominant tag, and it; ``vocabulary``: words that have weights of their own; ``weights``: of each feature
        that of each tag."""
        self._known, self._tags = known, sorted(tags, reverse=True)  # of equal scores the last name wins
        self._vocabulary = frozenset(vocabulary)
        numbers = {tag: number for number, tag in enumerate(self._tags)}
        lengths = [len(row) for row in weights.values()]
        self._ends = np.cumsum([0, *lengths]).astype(np.int32)
        self._rows = {feature: row for row, feature in enumerate(weights)}
        rows = weights.values()
        tags_of_rows = map(numbers.__getitem__, chain.from_iterable(rows))
        self._columns = np.fromiter(tags_of_rows, np.uint8, sum(lengths))
        self._weights = np.fromiter(chain.from_iterable(row.values() for row in rows), np.float32, sum(lengths))

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Self:
        """``table``: the file's content. Raises `KeyError` or `TypeError` for another one."""
        return cls(table["tagdict"], table["tags"], table["vocab"], table["weights"])

    def tag(self, words: Sequence[str]) -> list[str]:
        """The tags of a sentence, punctuation among its words. A contraction ("don't") has the tag of its first part."""
        parts: list[str] = []
        firsts: list[int] = []
        for word in words:
            firsts.append(len(parts))
            contracted = _CONTRACTED.match(word)
            parts += [contracted[1], contracted[2]] if contracted else [word]
        found = self._tag(parts)
        return [found[first] for first in firsts]

    def _tag(self, words: Sequence[str]) -> list[str]:
        context = [*_START, *(self._normal(word) for word in words), *_END]
        before, last, found = _START[0], _START[1], []
        for place, word in enumerate(words):
            tag = self._known.get(word) or self._predict(_features(place, word, context, last, before))
            found.append(tag)
            before, last = last, tag
        return found

    def _normal(self, word: str) -> str:
        normal = "!HYPHEN" if "-" in word and word[0] != "-" else word.lower()
        return normal if normal in self._vocabulary else f"<{_shape(word)}>"

    def _predict(self, features: Sequence[str]) -> str:
        scores = np.zeros(len(self._tags), np.float64)
        rows = [row for row in map(self._rows.get, features) if row is not None]
        for row in rows:
            start, end = self._ends[row], self._ends[row + 1]
            scores[self._columns[start:end]] += self._weights[start:end]
        return self._tags[int(scores.argmax())] if rows else "NN"


def _shape(word: str) -> str:
    if not word.isalpha():
        return "".join("d" if character.isdigit() else "x" if character.isalpha() else character for character in word[:4])
    if word.islower():
        return "x"
    if word.isupper():
        return "XX" if len(word) > 1 else "X1"
    return "Xx" if word[0].isupper() and word[1:].islower() else "xX"


def _features(place: int, word: str, context: Sequence[str], last: str, before: str) -> tuple[str, ...]:
    """``context``: the sentence with two marks at each end; ``last`` and ``before``: the tags of the word before and of that before it."""
    here = place + 2
    return (
        "b",
        "s3=" + word[-3:],
        "p1=" + word[0],
        "w=" + context[here],
        "sh=" + _shape(word),
        "i0" if place == 0 else "i+",
        "t-1=" + last,
        "t-2=" + before,
        f"t-12={last},{before}",
        "w-1=" + context[here - 1],
        "s3-1=" + context[here - 1][-3:],
        "w-2=" + context[here - 2],
        "w+1=" + context[here + 1],
        "s3+1=" + context[here + 1][-3:],
        "w+2=" + context[here + 2],
    )
