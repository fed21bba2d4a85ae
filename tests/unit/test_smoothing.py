from __future__ import annotations

import numpy as np
import pytest

from workers.lib.smoothing import Smoothed, smooth


def fed(values: list[float], memory: float) -> Smoothed:
    known = None
    for frame, value in enumerate(values, 1):
        known = smooth(known, [value], frame=frame, memory=memory)
    assert known is not None
    return known


def test_at_first_it_is_the_mean() -> None:
    assert fed([3.0, 5.0, 10.0], memory=10).values == pytest.approx([6.0])


def test_later_it_forgets() -> None:
    known = fed([0.0] * 30 + [1.0] * 30, memory=5)
    assert known.values[0] == pytest.approx(1 - 0.8**30, abs=1e-3)
    assert known.count == 60


def test_a_memory_of_one_frame_is_none() -> None:
    assert fed([3.0, 5.0, 10.0], memory=1).values == [10.0]


def test_a_pause_weighs_like_the_frames_it_took() -> None:
    before = Smoothed([0.0], 100, 100)
    assert smooth(before, [1.0], frame=101, memory=5).values == pytest.approx([0.2])
    assert smooth(before, [1.0], frame=104, memory=5).values == pytest.approx([1 - 0.8**4], abs=1e-4)


def test_noise_shrinks() -> None:
    noise = np.random.default_rng(5).normal(0, 1, 400).tolist()
    assert abs(fed(noise, memory=50).values[0]) < 0.4
