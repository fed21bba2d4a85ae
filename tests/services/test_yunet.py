"""YuNet's pre- and post-processing against a slow computation written from the network's description alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.services.helpers import astronaut, network
from workers.models import yunet


def straightforward(image: np.ndarray, min_score: float) -> list[tuple[list[float], float, list[float]]]:
    """(box, score, points) of a picture whose longer side needs no scaling, cell by cell."""
    height, width = image.shape[:2]
    rows, columns = (height + 31) // 32 * 32, (width + 31) // 32 * 32
    blob = cv2.dnn.blobFromImage(cv2.copyMakeBorder(image, 0, rows - height, 0, columns - width, cv2.BORDER_CONSTANT, value=0))
    out = network(yunet.MODEL).run({"input": blob})
    found = []
    for s in (8, 16, 32):
        for index in range((rows // s) * (columns // s)):
            y, x = divmod(index, columns // s)
            score = float(np.sqrt(min(max(out[f"cls_{s}"][0, index, 0], 0), 1) * min(max(out[f"obj_{s}"][0, index, 0], 0), 1)))
            if score < min_score:
                continue
            b, p = out[f"bbox_{s}"][0, index], out[f"kps_{s}"][0, index]
            w, h = float(np.exp(b[2])) * s, float(np.exp(b[3])) * s
            box = [(x + float(b[0])) * s - w / 2, (y + float(b[1])) * s - h / 2, w, h]
            found.append((box, score, [(float(p[k]) + (y if k % 2 else x)) * s for k in range(10)]))
    found.sort(key=lambda face: -face[1])
    kept: list[tuple[list[float], float, list[float]]] = []
    for face in found:
        if all(overlap(face[0], other[0]) <= 0.3 for other in kept):
            kept.append(face)
    return kept


def overlap(a: list[float], b: list[float]) -> float:
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def crowd() -> np.ndarray:
    """uint8 [480, 640, 3]: the same face in six sizes and places."""
    canvas = np.full((480, 640, 3), 100, np.uint8)
    face = astronaut()[0:240, 120:340]
    for x, y, side in ((10, 10, 200), (230, 10, 120), (380, 20, 80), (480, 10, 60), (20, 240, 220), (330, 200, 250)):
        canvas[y : y + side, x : x + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return canvas


@pytest.mark.parametrize(
    "image", [crowd(), np.ascontiguousarray(crowd()[:333, :500]), astronaut().copy()], ids=["640x480", "500x333", "512x512"]
)
@pytest.mark.parametrize("min_score", [0.65, 0.3])
def test_the_same_values_as_a_straightforward_computation(image: np.ndarray, min_score: float) -> None:
    expected = straightforward(image, min_score)
    (faces,) = yunet.detect(network(yunet.MODEL), [image], min_score=min_score)
    assert len(faces) == len(expected) > 0
    assert np.allclose(faces.scores, [score for _, score, _ in expected], atol=1e-5)
    assert np.allclose(faces.boxes, [box for box, _, _ in expected], atol=1e-2)
    assert np.allclose(faces.points.reshape(-1, 10), [points for _, _, points in expected], atol=1e-2)


def test_six_faces_in_the_crowd() -> None:
    assert len(yunet.detect(network(yunet.MODEL), [crowd()])[0]) == 6


@pytest.mark.parametrize("scale", [0.3, 2.0, 4.0])
def test_results_are_in_pixels_of_the_picture(scale: float) -> None:
    (reference,) = yunet.detect(network(yunet.MODEL), [astronaut()])
    (faces,) = yunet.detect(network(yunet.MODEL), [cv2.resize(astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)])
    assert len(faces) == 1
    assert overlap(list(faces.boxes[0] / scale), list(reference.boxes[0])) > 0.75
    assert np.allclose(faces.points / scale, reference.points, atol=10)


def test_the_close_up_is_in_pixels_of_the_picture() -> None:
    face = cv2.resize(np.ascontiguousarray(astronaut()[50:185, 165:285]), (1200, 1350), interpolation=cv2.INTER_CUBIC)
    view = yunet._close_up(*face.shape[:2])
    (faces,) = yunet._look(network(yunet.MODEL), [face], [view], yunet.MIN_SCORE)
    (reference,) = yunet.detect(network(yunet.MODEL), [astronaut()])
    assert max(view.canvas) == 256
    assert np.allclose(faces.points / 10 + [165, 50], reference.points, atol=6)


def test_points_are_eyes_nose_and_mouth() -> None:
    (faces,) = yunet.detect(network(yunet.MODEL), [astronaut()])
    left, right, nose, mouth_left, mouth_right = faces.points[0]
    assert left[0] < nose[0] < right[0]
    assert mouth_left[0] < mouth_right[0]
    assert left[1] < nose[1] < mouth_left[1]


def test_probability_rises_with_the_score() -> None:
    chances = yunet.probability(np.linspace(0, 1, 50))
    assert np.all(np.diff(chances) > 0)
    assert np.all((chances >= 0) & (chances <= 1))
    assert yunet.probability(np.array([0.9]))[0] > 0.95 > 0.85 > yunet.probability(np.array([yunet.MIN_SCORE]))[0]
