"""Faces: where heads are turned, and where eyes look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from workers.contract import Models
from workers.faces import Face, FaceOutput, FaceService, Seen
from workers.lib.faces import Sight
from workers.models import gaze, head_pose, yunet
from workers.models.directions import DirectionEstimator, open_directions

_POINTS = ("eye_left", "eye_right", "nose")  # the first three of YuNet
_ANGLES = ("head_yaw", "head_pitch", "head_roll", "gaze_yaw", "gaze_pitch")


class LookingFace(Face):
    eye_left: tuple[int, int] = Field(description="[x, y] of the eye on the left of the picture, in pixels, inside the picture.")
    eye_right: tuple[int, int] = Field(description="[x, y] of the eye on the right of the picture.")
    nose: tuple[int, int] = Field(description="[x, y] of the tip of the nose.")
    head_yaw: float = Field(description="Radians, > 0: the face points to the right of the picture.")
    head_pitch: float = Field(description="Radians, > 0: the face points upwards.")
    head_roll: float = Field(description="Radians, > 0: the head is tilted clockwise in the picture.")
    gaze_yaw: float = Field(description="Radians, > 0: the eyes look to the right of the picture.")
    gaze_pitch: float = Field(description="Radians, > 0: the eyes look upwards.")
    gaze_confidence: float | None = Field(
        None,
        ge=0,
        le=1,
        description="The probability that the gaze is right to 10 degrees, where it is judged by points of the face alone since the network "
        "made for gazes is not used; left out otherwise.",
    )


class GazeAnalysisOutput(FaceOutput[LookingFace]):
    pass


class GazeAnalysis(FaceService[LookingFace]):
    """What are people in front of my object looking at?

    Yaw and pitch are those of the direction in the picture, also of a tilted head: 0, 0 is into the camera, and a vector of
    length 1 in that direction is seen as cos(pitch) · sin(yaw) to the right and sin(pitch) upwards.

    Each picture stands alone. With a session faces are followed over its frames: a face is reported from its fourth
    consecutive frame on, keeps its `id`, and its points and angles are smoothed over the last few frames.
    """

    name = "gaze_analysis"
    output_type = GazeAnalysisOutput
    models = (yunet.MODEL, *head_pose.MODELS, gaze.MODEL)
    memory = 2.0  # a glance is short; two frames take away half of the noise

    _directions: DirectionEstimator

    def load(self, models: Models) -> None:
        super().load(models)
        self._directions = open_directions(models)

    def weights(self) -> Sequence[str]:
        return (*super().weights(), self._directions.sha256)

    def measure(self, sights: Sequence[Sight]) -> npt.NDArray[Any]:
        """[n, 11]: eyes and nose in shares of the box, so that they move with it while they are smoothed, and five angles."""
        directions = self._directions.estimate(sights)
        shares = [(sight.points[:, :3] - sight.boxes[:, None, :2]) / np.maximum(sight.boxes[:, None, 2:], 1e-3) for sight in sights]
        return np.column_stack([np.concatenate(shares).reshape(-1, 6), directions.columns])

    def face(self, seen: Seen) -> LookingFace:
        points = seen.box[:2] + seen.values[:6].reshape(3, 2) * seen.box[2:]
        pixels = np.clip(np.rint(points), 0, np.array(seen.size) - 1).astype(int).tolist()
        fields: dict[str, Any] = dict(zip(_POINTS, pixels, strict=True)) | dict(
            zip(_ANGLES, seen.values[6:].round(4).tolist(), strict=True)
        )
        certainty = self._directions.gaze_certainty
        if certainty < 1:
            fields["gaze_confidence"] = round(certainty * float(seen.common["roi_confidence"]), 4)
        return LookingFace(**seen.common, **fields)
