"""The face mesh: against tensorflow.js, and what is read out of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from tests.services.helpers import astronaut, network
from workers.lib import geometry
from workers.lib.faces import Sight
from workers.models import centerface, facemesh

#: What @tensorflow/tfjs 4.22.0 (its CPU backend, node 20) computes from the original model for rows 30 to 221 and columns 128 to 319 of the
#: photograph, RGB, divided by 255: some points of each output.
TFJS: dict[str, dict[int, tuple[float, ...]]] = {
    "mesh": {
        1: (96.071, 100.9, -22.871),
        4: (96.236, 96.368, -24.741),
        10: (99.053, 34.818, -12.309),
        33: (66.545, 69.105, 4.206),
        61: (73.625, 111.679, 7.586),
        133: (86.0, 71.798, 0.466),
        152: (94.735, 148.714, 9.833),
        234: (48.937, 78.347, 41.889),
        263: (128.93, 72.362, 3.04),
        291: (117.136, 113.063, 7.367),
        454: (146.107, 83.128, 40.309),
    },
    "lips": {0: (74.522, 109.118), 10: (117.514, 110.668), 39: (113.0, 111.673)},
    "left_eye": {0: (66.76, 70.606), 8: (85.806, 73.761), 12: (74.997, 67.371)},
    "right_eye": {0: (128.196, 73.912), 8: (108.542, 74.545), 70: (102.584, 70.561)},
    "left_iris": {0: (75.785, 70.972), 4: (75.434, 75.206)},
    "right_iris": {0: (118.451, 73.618), 1: (122.9, 73.671)},
    "face": {0: (1.0,)},
}
FACE = Sight(astronaut(), np.array([[179.5, 56.1, 90.2, 119.4]]), np.array([[(203, 101), (247, 102), (222, 124), (204, 143), (242, 144)]]))


def raw(crops: np.ndarray) -> dict[str, np.ndarray]:
    return network(facemesh.MODEL).run({"input": crops[..., ::-1].astype(np.float32) / np.float32(255)})


def test_the_numbers_of_another_runtime() -> None:
    out = raw(astronaut()[None, 30:222, 128:320])
    for name, points in TFJS.items():
        width = len(next(iter(points.values())))
        for index, expected in points.items():
            assert out[name].reshape(-1, width)[index] == pytest.approx(expected, abs=2e-3), (name, index)


def test_faces_together_give_what_they_give_alone() -> None:
    crops = np.stack([astronaut()[30:222, 128:320], astronaut()[30:222, 128:320][:, ::-1], astronaut()[300:492, 0:192]])
    together, alone = raw(crops), [raw(crop[None]) for crop in crops]
    for name, values in together.items():
        assert np.allclose(values, np.concatenate([one[name] for one in alone]), atol=0.05), name


class Counting:
    """The network, and how many faces each run had."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.rows.append(len(feeds["input"]))
        return network(facemesh.MODEL).run(feeds)


def test_the_mesh_of_a_face_is_made_once() -> None:
    counting = Counting()
    nothing = Sight(np.zeros((9, 9, 3), np.uint8), np.empty((0, 4)), np.empty((0, 5, 2)))
    first = facemesh.meshes(counting, [FACE, nothing, FACE])
    assert (first.shape, counting.rows) == ((2, facemesh.POINTS, 3), [2])
    known = replace(FACE, mesh=first[:1])
    assert np.array_equal(facemesh.meshes(counting, [known, FACE]), first)
    assert np.array_equal(facemesh.meshes(counting, [known]), first[:1])
    assert counting.rows == [2, 1]
    assert facemesh.meshes(counting, [nothing]).shape == (0, facemesh.POINTS, 3)


def mesh(image: np.ndarray | None = None) -> np.ndarray:
    """Of the only face in the picture."""
    pixels = astronaut() if image is None else image
    (faces,) = centerface.detect(network(centerface.MODEL), [pixels])
    assert len(faces) == 1
    return facemesh.meshes(network(facemesh.MODEL), [Sight.of(pixels, faces)])


def test_the_five_points_are_where_one_sees_them() -> None:
    # By eye.
    assert np.allclose(facemesh.five_points(mesh())[0], [(204, 103), (247, 104), (224, 128), (202, 140), (244, 141)], atol=6)


def turned(clockwise: float) -> np.ndarray:
    return cv2.warpAffine(astronaut(), cv2.getRotationMatrix2D((224, 125), -clockwise, 1.0), (512, 512), borderMode=cv2.BORDER_REPLICATE)


def degrees(image: np.ndarray) -> list[float]:
    head, yaw, pitch = facemesh.directions(mesh(image))
    return [float(np.degrees(value[0])) for value in (head.yaw, head.pitch, head.roll, yaw, pitch)]


def test_a_mirror_image_looks_to_the_other_side() -> None:
    there, back = degrees(astronaut()), degrees(np.ascontiguousarray(astronaut()[:, ::-1]))
    assert [there[angle] + back[angle] for angle in (0, 2, 3)] == pytest.approx(
        [0, 0, 0], abs=4
    )  # yaw and roll of the head, yaw of the gaze
    assert (back[1], back[4]) == pytest.approx((there[1], there[4]), abs=4)


@pytest.mark.parametrize("clockwise", [-25, 25])
def test_roll_is_clockwise(clockwise: float) -> None:
    assert degrees(turned(clockwise))[2] - degrees(astronaut())[2] == pytest.approx(clockwise, abs=4)


def posed(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The mesh of a head that is turned by these radians, of rigid points and eyes only, 100 pixels large."""
    places = facemesh._TEMPLATE - facemesh._TEMPLATE.mean(axis=0)
    (ahead,) = geometry.vectors(np.array([yaw]), np.array([pitch]))
    aside = np.cross([0, 1, 0], ahead) / np.linalg.norm(np.cross([0, 1, 0], ahead))
    seen = places @ np.array([aside, np.cross(ahead, aside), ahead])
    seen = geometry.turned(seen, np.full(len(seen), roll))
    made = np.zeros((1, facemesh.POINTS, 3), np.float32)
    made[0, facemesh._INDICES] = seen * [100, -100, -100] + [300, 200, 0]
    return made


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (0.5, 0, 0), (-0.4, 0.3, 0), (0.2, -0.4, 0), (0, 0, 0.5), (0.3, 0.2, -0.4)])
def test_the_angles_of_a_head_that_was_turned(yaw: float, pitch: float, roll: float) -> None:
    head, *_ = facemesh.directions(posed(yaw, pitch, roll))
    ahead = geometry.turned(geometry.vectors(np.array([yaw]), np.array([pitch])), np.array([roll]))
    assert [*head.yaw, *head.pitch] == pytest.approx([value for (value,) in geometry.angles(ahead)], abs=1e-4)
    assert head.roll[0] == pytest.approx(roll, abs=1e-4)


@pytest.mark.parametrize(("move", "axis", "sign"), [((3, 0), 3, 1), ((-3, 0), 3, -1), ((0, -3), 4, 1), ((0, 3), 4, -1)])
def test_the_gaze_follows_irises_and_lids(move: tuple[int, int], axis: int, sign: int) -> None:
    base = mesh()
    moved = base.copy()
    lids = [index for side in facemesh.LIDS for lid in side for index in lid]
    moved[:, [*lids, *range(facemesh.LEFT_IRIS, facemesh.POINTS)], :2] += np.array(move) * 0.5
    before, after = (np.array([value[0] for value in facemesh.directions(one)[1:]]) for one in (base, moved))
    assert sign * (after - before)[axis - 3] > 0.05


def test_meshes_without_sense_give_numbers() -> None:
    out: dict[str, Any] = {"mesh": np.zeros((1, 1, 1, 1404), np.float32), "lips": np.full((1, 1, 1, 160), np.nan, np.float32)}
    out |= {name: np.full((1, 1, 1, 142), np.nan, np.float32) for name in ("left_eye", "right_eye")}
    out |= {name: np.full((1, 1, 1, 10), np.inf, np.float32) for name in ("left_iris", "right_iris")}
    made = facemesh.assembled(out)
    head, yaw, pitch = facemesh.directions(made)
    for value in (made, facemesh.five_points(made), head.yaw, head.pitch, head.roll, yaw, pitch):
        assert np.all(np.isfinite(value))
