from __future__ import annotations

import numpy as np
import pytest

from workers.lib.geometry import angles, turned, vectors


def test_signs() -> None:
    yaw, pitch = angles(np.array([[1.0, 0, 1], [-1, 0, 1], [0, 1, 1], [0, -1, 1], [0, 0, 3], [0, 0, -1]]))
    assert np.degrees(yaw) == pytest.approx([45, -45, 0, 0, 0, 180])
    assert np.degrees(pitch) == pytest.approx([0, 0, 45, -45, 0, 0])


def test_there_and_back() -> None:
    yaw, pitch = np.radians(np.random.default_rng(1).uniform([[-170], [-80]], [[170], [80]], (2, 100)))
    directions = vectors(yaw, pitch)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1)
    assert np.allclose(angles(directions * 7.5), (yaw, pitch))


def test_a_quarter_clockwise() -> None:
    """Up becomes right, right becomes down."""
    assert np.allclose(turned(np.array([[0, 1, 0.5], [1, 0, 0.5]]), np.array([np.pi / 2] * 2)), [[1, 0, 0.5], [0, -1, 0.5]])
