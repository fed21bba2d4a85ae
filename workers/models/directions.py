"""Where heads are turned and where eyes look: the one place that services open the networks for it through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workers.contract import Models, Network
from workers.lib.faces import Sight
from workers.models import gaze, head_pose
from workers.models.weights import digest

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Directions:
    """Of n faces: ``head`` as in `head_pose.Poses`; ``gaze_yaw`` and ``gaze_pitch`` float64 [n], radians, as in `workers.lib.geometry`."""

    head: head_pose.Poses
    gaze_yaw: Array
    gaze_pitch: Array

    @property
    def columns(self) -> Array:
        """float64 [n, 5]: yaw, pitch and roll of the head, yaw and pitch of the gaze."""
        return np.column_stack([self.head.yaw, self.head.pitch, self.head.roll, self.gaze_yaw, self.gaze_pitch])


class DirectionEstimator(Protocol):
    """Measures heads and eyes. ``sha256`` stands for all weights that shape its answers."""

    @property
    def sha256(self) -> str: ...

    def estimate(self, sights: Sequence[Sight]) -> Directions:
        """Of all faces, picture by picture."""


@dataclass(frozen=True, slots=True)
class CropDirections:
    """`workers.models.head_pose` for heads, `workers.models.gaze` for eyes: networks that look at crops of the picture."""

    poses: tuple[Network, ...]
    gaze: Network

    @property
    def sha256(self) -> str:
        return digest((*self.poses, self.gaze))

    def estimate(self, sights: Sequence[Sight]) -> Directions:
        head = head_pose.estimate(self.poses, sights)
        return Directions(head, *gaze.estimate(self.gaze, sights, head))


def open_directions(models: Models) -> DirectionEstimator:
    """Raises what `Models.open` raises."""
    return CropDirections(tuple(models.open(name) for name in head_pose.MODELS), models.open(gaze.MODEL))
