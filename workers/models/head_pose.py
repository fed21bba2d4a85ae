"""FSA-Net, two variants: where heads are turned.

In: ``input`` float32 [n, 3, 64, 64], BGR, (value - 127.5) / 128; a square crop of 1.4 times the longer side of YuNet's box.
Out: ``output`` [n, 3], degrees: yaw > 0 to the left of the picture, pitch > 0 upwards, roll > 0 clockwise in the picture.
These are the angles of its training data (300W-LP): the face points (-sin yaw) to the right and (cos yaw · sin pitch)
upwards, so that a tilted head's yaw and pitch are those of the picture, not of the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workers.lib import geometry
from workers.lib.faces import Sight, eye_angles, mirrored, network_input, square_crops

Array = npt.NDArray[Any]

MODELS = ("fsanet-1x1", "fsanet-var")
SIZE = 64
FACTOR = 1.4
_MIRROR = np.array([-1.0, 1.0, -1.0])


class Runs(Protocol):
    """What is needed of a network."""

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]: ...


@dataclass(frozen=True, slots=True)
class Poses:
    """Radians, float64 [n]: ``yaw`` > 0 to the right of the picture, ``pitch`` > 0 upwards, as in `workers.lib.geometry`;
    ``roll`` > 0 clockwise in the picture."""

    yaw: Array
    pitch: Array
    roll: Array


def estimate(networks: Sequence[Runs], sights: Sequence[Sight]) -> Poses:
    """The poses of all heads, picture by picture: the mean of the networks over each crop and its mirror image.

    The heads are shown with their eyes level, since the networks know few tilted ones, and the answer is turned back.
    """
    tilts = np.concatenate([eye_angles(sight.points) for sight in sights])
    crops = np.concatenate([square_crops(s.image, s.boxes, SIZE, factor=FACTOR, angles=eye_angles(s.points)) for s in sights])
    feeds = {"input": (network_input(np.concatenate([crops, mirrored(crops)])) - 127.5) / 128}
    outputs = np.mean([network.run(feeds)["output"] for network in networks], axis=0, dtype=np.float64)
    level = np.radians(outputs.reshape(2, -1, 3))
    yaw, pitch, roll = np.moveaxis((level[0] + level[1] * _MIRROR) / 2, -1, 0)
    seen = np.stack([-np.sin(yaw), np.cos(yaw) * np.sin(pitch), np.cos(yaw) * np.cos(pitch)], axis=-1)
    return Poses(*geometry.angles(geometry.turned(seen, tilts)), roll + tilts)
