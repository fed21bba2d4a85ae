"""CenterFace: its decoding, against a slow one, and what it finds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.services.helpers import astronaut, network
from workers.lib.boxes import intersection_over_union
from workers.lib.faces import Faces
from workers.models import centerface


def maps(rows: int, columns: int) -> dict[str, np.ndarray]:
    """Outputs for one picture in which there is nothing."""
    return {
        name: np.zeros((1, depth, rows, columns), np.float32) for name, depth in (("heat", 1), ("size", 2), ("offset", 2), ("points", 10))
    }


def test_a_cell_says_where_a_face_is() -> None:
    out = maps(10, 12)
    out["heat"][0, 0, 3, 7] = 0.9
    out["size"][0, :, 3, 7] = np.log(10), np.log(5)  # high, wide
    out["offset"][0, :, 3, 7] = 0.25, -0.5  # down, right
    out["points"][0, :, 3, 7] = (0.3, 0.2, 0.3, 0.8, 0.5, 0.5, 0.8, 0.3, 0.8, 0.7)
    faces = centerface.decode(out, 0, 0.5)
    x, y = (7 + 0.5 - 0.5) * 4 - 10, (3 + 0.5 + 0.25) * 4 - 20
    assert np.allclose(faces.boxes, [[x, y, 20, 40]], atol=1e-4)
    shares = np.array([(0.2, 0.3), (0.8, 0.3), (0.5, 0.5), (0.3, 0.8), (0.7, 0.8)])
    assert np.allclose(faces.points[0], [x, y] + shares * [20, 40], atol=1e-4)
    assert faces.scores.tolist() == pytest.approx([0.9])
    assert faces.chances == pytest.approx(centerface.probability(faces.scores))


def test_of_cells_that_mean_the_same_face_the_best_stays() -> None:
    out = maps(10, 12)
    for column, score in ((5, 0.7), (6, 0.8), (7, 0.6)):
        out["heat"][0, 0, 4, column] = score
        out["size"][0, :, 4, column] = np.log(8)
    out["heat"][0, 0, 9, 1] = 0.49
    faces = centerface.decode(out, 0, 0.5)
    assert faces.scores.tolist() == pytest.approx([0.8])


def test_broken_sizes_stay_finite() -> None:
    out = maps(2, 2)
    out["heat"][0, 0, 0, 0] = 1
    out["size"][...] = 1e6
    assert np.all(np.isfinite(centerface.decode(out, 0, 0.5).boxes))


def found(image: np.ndarray) -> Faces:
    (faces,) = centerface.detect(network(centerface.MODEL), [image])
    return faces


def test_pictures_together_give_what_they_give_alone() -> None:
    wide = np.ascontiguousarray(astronaut()[:256])
    pictures = [astronaut(), wide, np.zeros((300, 200, 3), np.uint8), np.ascontiguousarray(astronaut()[:, ::-1])]
    for alone, together in zip(map(found, pictures), centerface.detect(network(centerface.MODEL), pictures), strict=True):
        assert np.allclose(alone.boxes, together.boxes, atol=0.05)
        assert np.allclose(alone.points, together.points, atol=0.05)
        assert np.allclose(alone.scores, together.scores, atol=1e-3)


def test_points_are_eyes_nose_and_mouth() -> None:
    left, right, nose, mouth_left, mouth_right = found(astronaut()).points[0]
    assert left[0] < nose[0] < right[0]
    assert mouth_left[0] < mouth_right[0]
    assert left[1] < nose[1] < mouth_left[1]
    assert np.linalg.norm(nose - [224, 127]) < 12


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_results_are_in_pixels_of_the_picture(scale: float) -> None:
    reference = found(astronaut())
    faces = found(cv2.resize(astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    assert len(faces) == len(reference) == 1
    assert intersection_over_union(faces.boxes / scale, reference.boxes)[0, 0] > 0.75


def test_a_face_that_fills_the_picture_is_found_at_second_sight() -> None:
    face = cv2.resize(np.ascontiguousarray(astronaut()[50:185, 165:285]), (1200, 1350), interpolation=cv2.INTER_CUBIC)
    view = centerface._close_up(*face.shape[:2])
    (faces,) = centerface._look(network(centerface.MODEL), [face], [view], centerface.MIN_SCORE)
    assert max(view.canvas) == 256
    assert np.allclose(faces.points / 10 + [165, 50], found(astronaut()).points, atol=8)


def test_probability_rises_with_the_score() -> None:
    chances = centerface.probability(np.linspace(0, 1, 50))
    assert np.all(np.diff(chances) > 0)
    assert np.all((chances >= 0) & (chances <= 1))
    assert centerface.probability(np.array([0.9]))[0] > 0.99 > centerface.probability(np.array([centerface.MIN_SCORE]))[0] > 0.9
