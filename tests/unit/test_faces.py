"""Cutting faces out, against slow computations written from the descriptions alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.services.face_crops import sampled
from workers.lib.faces import (
    Sight,
    align_five_points,
    eye_angles,
    eye_crops,
    in_groups,
    mirrored,
    network_input,
    similarities,
    square_crops,
)

TEMPLATE = np.array([(40.4, 59.1), (87.4, 59.1), (64.0, 82.0), (44.7, 105.6), (83.6, 105.6)])
POINTS = np.array([[(100.0, 80), (150, 90), (120, 110), (98, 135), (140, 142)], [(60.0, 60), (70, 58), (66, 66), (62, 71), (70, 70)]])


def picture(height: int = 240, width: int = 320) -> np.ndarray:
    """uint8 [height, width, 3], smooth, different in every channel and direction."""
    noise = np.random.default_rng(7).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3)).astype(np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """[2, 3] by singular values, as in Umeyama's paper."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, d, v = np.linalg.svd(b.T @ a / len(a))
    sign = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(v))])
    scale = np.trace(np.diag(d) @ sign) / a.var(axis=0).sum()
    turn = scale * u @ sign @ v
    return np.column_stack([turn, target.mean(axis=0) - turn @ source.mean(axis=0)])


def test_similarities_are_those_of_umeyama() -> None:
    random = np.random.default_rng(3)
    points = np.concatenate([POINTS, random.normal(100, 40, (20, 5, 2))])
    for found, source in zip(similarities(points, TEMPLATE), points, strict=True):
        assert np.allclose(found, umeyama(source, TEMPLATE), atol=1e-9)


def test_points_that_fall_together_are_only_moved() -> None:
    (matrix,) = similarities(np.full((1, 5, 2), 30.0), TEMPLATE)
    assert np.allclose(matrix[:, :2], np.eye(2))
    assert np.allclose(matrix @ [30, 30, 1], TEMPLATE.mean(axis=0))


def test_aligned_points_lie_where_they_should() -> None:
    """A cross drawn at each point is found again at its place of the template."""
    image = np.zeros((300, 300, 3), np.uint8)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 1.2
    points = TEMPLATE @ turn.T + [90, 30]
    for x, y in points:
        cv2.circle(image, (round(x), round(y)), 3, (255, 255, 255), -1)
    (crop,) = align_five_points(image, points[None], TEMPLATE, 128)
    for x, y in TEMPLATE:
        spot = crop[round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7, 0].astype(float)
        rows, columns = np.mgrid[-6:7, -6:7]
        assert spot.sum() > 0
        assert abs((spot * columns).sum() / spot.sum()) < 1
        assert abs((spot * rows).sum() / spot.sum()) < 1


@pytest.mark.parametrize("box", [(100, 80, 60, 50), (-20, -10, 70, 90), (280, 200, 60, 60), (150.4, 77.7, 33.3, 41.9)])
@pytest.mark.parametrize("degrees", [0.0, 20.0, -75.0])
def test_square_crops_by_value(box: tuple[float, float, float, float], degrees: float) -> None:
    image, angle = picture(), np.radians(degrees)
    (crop,) = square_crops(image, np.array([box]), 64, factor=1.2, angles=np.array([angle]))
    centre = (box[0] + box[2] / 2 - 0.5, box[1] + box[3] / 2 - 0.5)
    expected = sampled(image, centre, max(box[2:]) * 1.2, 64, angle)
    assert np.abs(crop - expected).max() < 6
    assert np.abs(crop - expected).mean() < 0.6


@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_shrinking_averages_what_it_skips(degrees: float) -> None:
    image = np.random.default_rng(1).integers(0, 256, (900, 1200, 3)).astype(np.uint8)
    box, angle = np.array([[300.0, 200, 500, 480]]), np.radians(degrees)
    (crop,) = square_crops(image, box, 50, factor=1.0, angles=np.array([angle]))
    expected = sampled(image, (549.5, 439.5), 500, 50, angle, over=10)
    assert crop.std() < 20, "noise is averaged away"
    assert np.abs(crop.astype(float).mean() - expected.mean()) < 1
    smooth = cv2.GaussianBlur(image, (0, 0), 12)
    smooth = cv2.normalize(smooth, smooth.copy(), 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    (crop,) = square_crops(smooth, box, 50, factor=1.0, angles=np.array([angle]))
    assert np.abs(crop - sampled(smooth, (549.5, 439.5), 500, 50, angle, over=10)).mean() < 2


def test_shrinking_at_the_edge_repeats_it() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    image[:, :100] = 200
    (crop,) = square_crops(image, np.array([[-300.0, 0, 400, 400]]), 40, factor=1.0)
    assert np.all(crop[:, :39] == 200)


def test_level_eyes() -> None:
    """A turned picture, levelled again, looks like the picture that was never turned."""
    image = picture()
    points = np.array([[(130.0, 110), (180, 110), (155, 140), (135, 160), (175, 160)]])
    turn = cv2.getRotationMatrix2D((160, 120), -25, 1.0)  # OpenCV: < 0 clockwise
    turned = cv2.warpAffine(image, turn, (320, 240), borderMode=cv2.BORDER_REPLICATE)
    moved = points @ turn[:, :2].T + turn[:, 2]
    assert np.degrees(eye_angles(moved)) == pytest.approx([25])
    before = eye_crops(image, points, 60, factor=0.9, angles=eye_angles(points))
    after = eye_crops(turned, moved, 60, factor=0.9, angles=eye_angles(moved))
    assert before.shape == (2, 1, 60, 60, 3)
    assert np.abs(before.astype(float) - after).mean() < 2
    assert np.abs(before[0].astype(float) - before[1]).mean() > 20, "two different eyes"


def test_mirrored_and_network_input() -> None:
    crops = np.random.default_rng(2).integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    assert mirrored(crops)[1, 2, 0].tolist() == crops[1, 2, 3].tolist()
    assert network_input(crops).shape == (3, 3, 4, 4)
    assert network_input(crops)[2, :, 1, 3].tolist() == crops[2, 1, 3].tolist()
    assert network_input(crops, rgb=True)[2, :, 1, 3].tolist() == crops[2, 1, 3, ::-1].tolist()


def test_nobody_is_no_crops() -> None:
    none = np.empty((0, 4))
    assert square_crops(picture(), none, 32, factor=1.0, angles=np.empty(0)).shape == (0, 32, 32, 3)
    assert align_five_points(picture(), np.empty((0, 5, 2)), TEMPLATE, 32).shape == (0, 32, 32, 3)
    assert eye_crops(picture(), np.empty((0, 5, 2)), 32, factor=1.0).shape == (2, 0, 32, 32, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 7)])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (-5e5, -5e5, 1e6, 1e6), (0.2, 0.1, 0, 0), (400, -300, 800, 900), (1e5, 1e5, 10, 10)])
def test_strange_boxes_in_tiny_pictures_show_its_colour(size: tuple[int, int], box: tuple[float, ...]) -> None:
    image = np.full((*size, 3), (10, 20, 30), np.uint8)
    crops = square_crops(image, np.array([box]), 16, factor=1.4, angles=np.array([0.3]))
    assert np.all(crops == [10, 20, 30])


@pytest.mark.parametrize("counts", [[], [0, 0], [3], [16], [17], [0, 5, 0, 40, 1], [10, 10, 10]])
def test_groups_keep_every_face_in_order(counts: list[int]) -> None:
    sights = [
        Sight(np.full((1, 1, 3), number, np.uint8), np.arange(4 * count).reshape(-1, 4), np.zeros((count, 5, 2)))
        for number, count in enumerate(counts)
    ]
    groups = list(in_groups(sights, 16))
    assert [sum(map(len, group)) for group in groups] == [16] * (sum(counts) // 16) + [sum(counts) % 16] * (sum(counts) % 16 > 0)
    flat = [(int(sight.image[0, 0, 0]), tuple(box)) for group in groups for sight in group for box in sight.boxes]
    assert flat == [(number, tuple(box)) for number, sight in enumerate(sights) for box in sight.boxes]
