"""Faces: how many, and where."""

from __future__ import annotations

from workers.faces import Face, FaceOutput, FaceService, Seen
from workers.models import yunet


class FaceDetectionOutput(FaceOutput[Face]):
    pass


class FaceDetection(FaceService[Face]):
    """Do I see human faces? How many? Where?

    Each picture stands alone. With a session faces are followed over its frames: a face is reported from its fourth
    consecutive frame on, keeps its `id`, also when it is out of sight for a few frames, and its roi is smoothed.
    """

    name = "face_detection"
    output_type = FaceDetectionOutput
    models = (yunet.MODEL,)

    def face(self, seen: Seen) -> Face:
        return Face(**seen.common)
