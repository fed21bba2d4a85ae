"""gaze-estimation-adas-0002: where eyes look.

In: ``left_eye_image`` (the eye on the left of the picture) and ``right_eye_image`` float32 [n, 3, 60, 60], BGR, 0..255:
squares around the eyes with a side of 0.9 times their distance; ``head_pose_angles`` [n, 3], degrees: yaw > 0 to the right
of the picture, pitch > 0 downwards, roll > 0 clockwise. Out: ``gaze_vector`` [n, 3] of any length: to the right of the
picture, upwards, away from the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workers.lib import geometry
from workers.lib.faces import Sight, eye_angles, eye_crops, mirrored, network_input
from workers.models.head_pose import Poses

Array = npt.NDArray[Any]

MODEL = "gaze-estimation-adas-0002"
SIZE = 60
FACTOR = 0.9


class Runs(Protocol):
    """What is needed of a network."""

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]: ...


def estimate(network: Runs, sights: Sequence[Sight], poses: Poses) -> tuple[Array, Array]:
    """(yaw, pitch) of the gaze of all faces, picture by picture, whose heads have these ``poses``: radians, float64 [n],
    as in `workers.lib.geometry`.

    The eyes are shown level, with the head's direction turned likewise, and the answer is turned back. It is the mean of the
    eyes and their mirror image, which alone differ by some 9 degrees for small faces.
    """
    tilts = np.concatenate([eye_angles(sight.points) for sight in sights])
    head = geometry.angles(geometry.turned(geometry.vectors(poses.yaw, poses.pitch), -tilts))
    level = np.degrees(np.stack([head[0], -head[1], np.zeros_like(tilts)], axis=-1))
    left, right = np.concatenate([eye_crops(s.image, s.points, SIZE, factor=FACTOR, angles=eye_angles(s.points)) for s in sights], axis=1)
    feeds = {
        "left_eye_image": network_input(np.concatenate([left, mirrored(right)])),
        "right_eye_image": network_input(np.concatenate([right, mirrored(left)])),
        "head_pose_angles": np.concatenate([level, level * [-1, 1, 1]]).astype(np.float32),
    }
    raw = network.run(feeds)["gaze_vector"].astype(np.float64).reshape(2, -1, 3)
    raw /= np.maximum(np.linalg.norm(raw, axis=-1, keepdims=True), 1e-9)
    # The mirror image's right is our left; the third axis is turned to point towards the camera.
    mean = raw[0] * [1, 1, -1] + raw[1] * [-1, 1, -1]
    return geometry.angles(geometry.turned(mean, tilts))
