from __future__ import annotations

import numpy as np
import pytest

from workers.lib.appearance import BITS, codes, similarity


def pair(cosine: float, rng: np.random.Generator) -> np.ndarray:
    """Two embeddings [2, 256] of length 1 with this cosine."""
    first, other = rng.standard_normal((2, 256))
    first /= np.linalg.norm(first)
    other -= first * (first @ other)
    return np.array([first, cosine * first + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)])


def found(cosine: float) -> np.ndarray:
    """What 200 sessions make of as many pairs."""
    rng = np.random.default_rng(0)
    return np.array([similarity(*codes(pair(cosine, rng), f"session {number}")) for number in range(200)])


@pytest.mark.parametrize("cosine", [0.3, 0.45, 0.6, 0.8])
def test_the_cosine_is_known_better_than_from_directions_at_random(cosine: float) -> None:
    values = found(cosine)
    differing = np.arccos(cosine) / np.pi
    at_random = np.pi * np.sqrt(1 - cosine**2) * np.sqrt(differing * (1 - differing) / BITS)  # of so many independent bits
    assert values.mean() == pytest.approx(cosine, abs=0.02)
    assert values.std() < 0.95 * at_random


def test_codes_of_two_sessions_tell_nothing_of_each_other() -> None:
    rng = np.random.default_rng(1)
    across = [
        similarity(codes(embedding, "one")[0], codes(embedding, f"other {number}")[0])
        for number in range(50)
        for embedding in [pair(0, rng)]
    ]
    assert abs(np.mean(across)) < 0.05


def test_the_length_of_an_embedding_and_nobody() -> None:
    embeddings = pair(0.5, np.random.default_rng(2))
    assert codes(embeddings, "salt") == codes(5 * embeddings, "salt")
    assert codes(embeddings[:0], "salt") == []


@pytest.mark.parametrize("dimensions", [3, 256, 700])
def test_embeddings_of_any_size(dimensions: int) -> None:
    embedding = np.random.default_rng(3).standard_normal((1, dimensions))
    assert similarity(*codes(np.concatenate([embedding, -embedding]), "salt")) == pytest.approx(-1)
