"""Where heads are turned and where eyes look: the one place that services open the networks for it through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workers.contract import Models, Network
from workers.lib.faces import Sight
from workers.models import facemesh, gaze, head_pose
from workers.models.weights import digest

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Directions:
    """Of n faces, picture by picture."""

    head: head_pose.Poses
    #: float64 [n], radians, as in `workers.lib.geometry`.
    gaze_yaw: Array
    gaze_pitch: Array

    @property
    def columns(self) -> Array:
        """float64 [n, 5]: yaw, pitch and roll of the head, yaw and pitch of the gaze."""
        return np.column_stack([self.head.yaw, self.head.pitch, self.head.roll, self.gaze_yaw, self.gaze_pitch])


class DirectionEstimator(Protocol):
    """Measures heads and eyes. ``sha256`` stands for all weights that shape its answers. ``gaze_certainty``: how far the gaze can be
    relied on, 1 for a network that was made for it, `facemesh.CERTAINTY` for the mesh."""

    @property
    def sha256(self) -> str: ...
    @property
    def gaze_certainty(self) -> float: ...

    def estimate(self, sights: Sequence[Sight]) -> Directions:
        """Of all faces, picture by picture."""


@dataclass(frozen=True, slots=True)
class NetworkDirections:
    """Networks that look at crops of the picture, as far as there are any, and the mesh for what they leave.

    ``poses``: those of `workers.models.head_pose`, or none; ``gaze``: that of `workers.models.gaze`, or None; ``mesh`` is
    None where nothing is left for it. The mesh is made once for both, and not at all where the detector made it.
    """

    poses: tuple[Network, ...]
    gaze: Network | None
    mesh: Network | None

    @property
    def sha256(self) -> str:
        return digest(network for network in (*self.poses, self.gaze, self.mesh) if network is not None)

    @property
    def gaze_certainty(self) -> float:
        return facemesh.CERTAINTY if self.gaze is None else 1.0

    def estimate(self, sights: Sequence[Sight]) -> Directions:
        meshed = None if self.mesh is None else facemesh.directions(facemesh.meshes(self.mesh, sights))
        head = head_pose.estimate(self.poses, sights) if meshed is None or self.poses else meshed[0]
        if self.gaze is not None:
            return Directions(head, *gaze.estimate(self.gaze, sights, head))
        assert meshed is not None  # noqa: S101 - what is missing the mesh stands in for
        return Directions(head, *meshed[1:])


def open_directions(models: Models) -> DirectionEstimator:
    """FSA-Net and the gaze network, or what stands in for each. Raises what `Models.choose` raises."""
    poses = tuple(models.choose(name) for name in head_pose.MODELS)
    eyes = models.choose(gaze.MODEL)
    meshed = next((network for network in (*poses, eyes) if network.name == facemesh.MODEL), None)
    return NetworkDirections(
        () if any(network.name == facemesh.MODEL for network in poses) else poses,
        None if eyes.name == facemesh.MODEL else eyes,
        meshed,
    )
