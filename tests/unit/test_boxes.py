from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workers.lib.boxes import clip_boxes, intersection_over_union, suppress

boxes_of = st.integers(1, 12).flatmap(lambda n: arrays(np.float64, (n, 4), elements=st.floats(1, 200)))


def test_overlap_by_hand() -> None:
    first = np.array([[0, 0, 10, 10], [5, 0, 10, 10]])
    second = np.array([[0, 0, 10, 10], [20, 20, 5, 5], [0, 0, 0, 0], [2, 2, 5, 5]])
    expected = [[1, 0, 0, 0.25], [50 / 150, 0, 0, 10 / 115]]
    assert intersection_over_union(first, second)[0] == pytest.approx(expected[0])
    assert intersection_over_union(first, second)[1, :3] == pytest.approx(expected[1][:3])


def test_overlap_of_nothing() -> None:
    assert intersection_over_union(np.empty((0, 4)), np.ones((3, 4))).shape == (0, 3)


@given(boxes_of)
def test_overlap_is_symmetric_and_in_range(boxes: np.ndarray) -> None:
    matrix = intersection_over_union(boxes, boxes)
    assert np.allclose(matrix, matrix.T)
    assert np.allclose(np.diag(matrix), 1)
    assert np.all((matrix >= 0) & (matrix <= 1 + 1e-12))


@given(boxes_of, st.randoms(use_true_random=False))
def test_suppression_against_the_definition(boxes: np.ndarray, random: object) -> None:
    scores = np.linspace(0.9, 0.1, len(boxes))
    random.shuffle(scores)  # type: ignore[attr-defined]
    overlaps = intersection_over_union(boxes, boxes)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if all(overlaps[index, other] <= 0.3 for other in kept):
            kept.append(int(index))
    near = np.abs(overlaps - 0.3) < 1e-5  # single precision inside OpenCV may decide these either way
    if not near.any():
        assert suppress(boxes, scores, overlap=0.3).tolist() == kept


def test_suppression_of_few() -> None:
    assert suppress(np.empty((0, 4)), np.empty(0), overlap=0.3).tolist() == []
    assert suppress(np.ones((1, 4)), np.array([0.1]), overlap=0.3).tolist() == [0]


def test_clipping_by_hand() -> None:
    boxes = np.array([[-5.4, 2.6, 10, 10], [95, 45, 50, 50], [-50, -50, 10, 10], [200, 200, 3, 3], [10.4, 10.4, 0.1, 0.1]])
    expected = [[0, 3, 5, 10], [95, 45, 5, 5], [0, 0, 1, 1], [99, 49, 1, 1], [10, 10, 1, 1]]
    assert clip_boxes(boxes, 100, 50).tolist() == expected
    assert clip_boxes(np.empty((0, 4)), 100, 50).tolist() == []


@given(arrays(np.float64, (8, 4), elements=st.floats(-1e6, 1e6)), st.integers(1, 500), st.integers(1, 500))
def test_clipped_boxes_lie_inside(boxes: np.ndarray, width: int, height: int) -> None:
    x, y, w, h = clip_boxes(boxes, width, height).T
    assert np.all((x >= 0) & (y >= 0) & (w >= 1) & (h >= 1) & (x + w <= width) & (y + h <= height))
