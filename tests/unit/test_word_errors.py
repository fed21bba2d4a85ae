"""The word error rate of the bench: of the spelling that comes nearest, whatever the punctuation."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from bench.listener.words import errors, nearest, words

SENTENCES = tomllib.loads((Path(__file__).parents[2] / "bench" / "accuracy" / "spoken.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("said", "heard", "count"),
    [("a b c", "a b c", 0), ("a b c", "a c", 1), ("a b c", "a x c", 1), ("a b", "a b c d", 2), ("", "a", 1), ("a", "", 1)],
)
def test_errors(said: str, heard: str, count: int) -> None:
    assert errors(said.split(), heard.split()) == count


def test_the_nearest_spelling_counts() -> None:
    assert nearest(["My neighbours.", "My neighbors."], "my neighbors", "en") == (0, 2)
    assert nearest(["a b c", "a b c d"], "A, b; d!", "en") == (1, 4)
    assert words("S'il vous pla\u00eet\u202f!", "fr") == ["s", "il", "vous", "pla\u00eet"]
    assert words("7 % & 5 \u20ac".replace("7", "x").replace("5", "y"), "de") == ["x", "prozent", "und", "y", "euro"]


def test_there_are_sentences_of_every_language() -> None:
    assert set(SENTENCES) == {"en", "de", "es", "fr", "it"}
    for sentences in SENTENCES.values():
        assert len(sentences) >= 20
        assert sum(any(character.isdigit() for character in one[0]) for one in sentences) >= 6
