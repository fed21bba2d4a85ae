from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.lib.gallery import Calibration, Gallery, Kept, likeliest, smooth


def directions(count: int, dimensions: int = 16, seed: int = 0) -> np.ndarray:
    """float32 [count, dimensions] of unit length."""
    found = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def slow_scores(album: dict[str, np.ndarray], face: np.ndarray) -> list[float]:
    """The score of each person, sample by sample."""
    scores = []
    for samples in album.values():
        cosines = [sum(float(a) * float(b) for a, b in zip(sample, face, strict=True)) for sample in samples]
        scores.append((max(cosines) + sum(cosines) / len(cosines)) / 2 if cosines else -np.inf)
    return scores


@given(st.lists(st.integers(0, 4), max_size=8), st.integers(0, 3), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_scores_are_those_of_a_slow_computation(counts: list[int], faces: int, seed: int) -> None:
    rows = np.split(directions(max(1, sum(counts)), seed=seed)[: sum(counts)], np.cumsum(counts)[:-1]) if counts else []
    album = {f"person {index}": part for index, part in enumerate(rows)}
    asked = directions(max(1, faces), seed=seed + 1)[:faces]
    scores = Gallery.of({name: list(part) for name, part in album.items()}).scores(asked)
    assert scores.shape == (faces, len(counts))
    for row, face in zip(scores, asked, strict=True):
        assert row.tolist() == pytest.approx(slow_scores(album, face), abs=1e-5)


def test_ten_thousand_samples_are_one_product() -> None:
    samples = directions(10_000, 256)
    gallery = Gallery.of({f"person {index}": [sample] for index, sample in enumerate(samples)})
    scores = gallery.scores(samples[[7, 9_999]])
    assert scores.argmax(axis=1).tolist() == [7, 9_999]
    assert np.allclose(scores, samples[[7, 9_999]] @ samples.T, atol=1e-5)


def test_confidence() -> None:
    calibration = Calibration(even=0.36, slope=14.0)
    assert calibration.confidence(np.array([0.36])).tolist() == [0.5]
    low, high = calibration.confidence(np.array([0.1, 0.65]))
    assert low == pytest.approx(1 / (1 + np.exp(14 * 0.26)))
    assert high == pytest.approx(1 / (1 + np.exp(-14 * 0.29)))
    assert calibration.confidence(np.array([-np.inf])).tolist() == [0.0]
    assert bool(np.all(np.diff(calibration.confidence(np.linspace(-1, 1, 50))) > 0))
    assert Calibration(even=0.95, slope=1e6).confidence(np.array([-1.0, 1.0])).tolist() == [0.0, 1.0]


def test_the_first_frame_counts_alone() -> None:
    scores = np.array([0.1, 0.5])
    assert smooth(scores, ["a", "b"], {}, 1.0) is scores


def test_a_frame_moves_the_scores_by_its_weight() -> None:
    assert smooth(np.array([0.5, 0.1]), ["a", "b"], {"a": 0.1, "b": 0.3}, 0.25).tolist() == pytest.approx([0.2, 0.25])


def test_who_was_not_among_the_likeliest_had_no_more_than_they() -> None:
    smoothed = smooth(np.array([0.6, 0.9, 0.05]), ["a", "b", "c"], {"a": 0.4}, 0.5)
    assert smoothed.tolist() == pytest.approx([0.5, 0.65, 0.05])


def test_who_has_no_sample_left_is_not_recognised() -> None:
    assert smooth(np.array([-np.inf, 0.2]), ["a", "b"], {"a": 0.9}, 0.5)[0] == -np.inf


def test_the_likeliest() -> None:
    people = ["a", "b", "c", "d"]
    assert likeliest(np.array([0.1, 0.3, -np.inf, 0.2]), people, 2) == {"b": 0.3, "d": 0.2}
    assert likeliest(np.array([0.1, 0.3, -np.inf, 0.2]), people, 9) == {"b": 0.3, "d": 0.2, "a": 0.1}


def test_what_was_used_last_is_kept() -> None:
    kept: Kept[str, int] = Kept(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get_all(["a", "x"]) == {"a": 1}
    kept.put("c", 3)
    assert kept.get_all("abc") == {"a": 1, "c": 3}
    assert kept.forget("a")
    assert not kept.forget("a")
    assert kept.get("a") is None
    kept.clear()
    assert len(kept) == 0


def test_several_threads_share_it() -> None:
    kept: Kept[int, int] = Kept(50)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for key in np.random.default_rng(seed).integers(0, 100, 2000).tolist():
            value = kept.get(key)
            if value is None:
                kept.put(key, 2 * key)
            elif value != 2 * key:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(kept) == 50
