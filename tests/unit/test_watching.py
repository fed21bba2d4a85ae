"""Numbers as operators read them."""

from __future__ import annotations

import pytest

from console.watching import duration, rate, sentence, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (0.0, "0 s"),
        (0.44, "0.4 s"),
        (1, "1 s"),
        (12.4, "12 s"),
        (59.4, "59 s"),
        (210, "3.5 min"),
        (7560, "2.1 h"),
        (432_000, "5.0 d"),
    ],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("per_second", "words"), [(None, "–"), (0.0, "0"), (0.44, "0.4"), (27.3, "27")])
def test_rates(per_second: float | None, words: str) -> None:
    assert rate(per_second) == words


@pytest.mark.parametrize(("count", "words"), [(0, "0 B"), (999, "999 B"), (3100, "3.1 kB"), (2_000_000, "2.0 MB")])
def test_sizes(count: int, words: str) -> None:
    assert size(count) == words


def test_sentences() -> None:
    assert [sentence(text) for text in ("", "it is", "RabbitMQ")] == ["", "It is", "RabbitMQ"]
