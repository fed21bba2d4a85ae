"""Faces: how many, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import cv2
import numpy as np
from pydantic import BaseModel, Field

from workers.contract import Image, Input, Item, Models, Network, Output, Service
from workers.lib.boxes import clip_boxes
from workers.lib.tracks import Tracks, follow
from workers.models import yunet


class FaceDetectionInput(Input):
    image: Image = Field(description="The picture to look at, JPEG or PNG.")


class Face(BaseModel):
    roi: tuple[int, int, int, int] = Field(description="[x, y, width, height] of the face in pixels, inside the picture.")
    roi_confidence: float = Field(ge=0, le=1, description="The probability that there is a face in the roi.")
    id: int | None = Field(None, ge=1, description="The same for a face from frame to frame. Only with a session.")


class FaceDetectionOutput(Output):
    omit_none = True

    input_size: tuple[int, int] = Field(description="[width, height] of the picture in pixels.")
    nb_faces: int = Field(ge=0, description="The number of faces.")
    faces: list[Face] = Field(description="The faces: the most certain first, with a session the longest known first.")


class FaceDetectionState(BaseModel):
    tracks: Tracks = Field(default_factory=Tracks)


class FaceDetection(Service[FaceDetectionInput, FaceDetectionOutput]):
    """Do I see human faces? How many? Where?

    Each picture stands alone. With a session faces are followed over its frames: a face is reported from its fourth
    consecutive frame on, keeps its `id`, also when it is out of sight for a few frames, and its roi is smoothed.
    """

    name = "face_detection"
    input_type = FaceDetectionInput
    output_type = FaceDetectionOutput
    state_type: ClassVar[type[BaseModel]] = FaceDetectionState
    models = (yunet.MODEL,)
    max_batch = 16

    _network: Network

    def load(self, models: Models) -> None:
        self._network = models.open(yunet.MODEL)

    def process(self, batch: Sequence[Item[FaceDetectionInput]]) -> Sequence[FaceDetectionOutput]:
        found = yunet.detect(self._network, [item.input.image.pixels for item in batch])
        return [_answer(item, faces) for item, faces in zip(batch, found, strict=True)]

    @classmethod
    def example(cls) -> FaceDetectionInput:
        """A face drawn with a brush: enough for the network to find one."""
        return FaceDetectionInput(image=Image(_drawing()))


def _answer(item: Item[FaceDetectionInput], found: yunet.Faces) -> FaceDetectionOutput:
    width, height = item.input.image.size
    chances = yunet.probability(found.scores)
    numbers: Sequence[int | None]
    if item.state is None:
        boxes, numbers = found.boxes, [None for _ in found.scores]
    else:
        seen = follow(item.state.tracks, found.boxes, chances, skipped=item.skipped).seen
        reported = sorted((track for track in seen if track.confirmed), key=lambda track: track.id)
        boxes, numbers = np.array([track.box for track in reported]), [track.id for track in reported]
        chances = np.array([track.score for track in reported])
    rois = clip_boxes(boxes, width, height).tolist()
    faces = [
        Face(roi=roi, roi_confidence=round(float(chance), 4), id=number) for roi, chance, number in zip(rois, chances, numbers, strict=True)
    ]
    return FaceDetectionOutput(input_size=(width, height), nb_faces=len(faces), faces=faces)


def _drawing() -> bytes:
    """A JPEG of 640 x 480 with one face."""
    picture = np.full((480, 640, 3), (150, 140, 130), np.uint8)
    cv2.ellipse(picture, (320, 240), (85, 115), 0, 0, 360, (140, 175, 225), -1)
    cv2.ellipse(picture, (320, 165), (88, 60), 0, 180, 360, (30, 40, 60), -1)
    for x in (286, 354):
        cv2.ellipse(picture, (x, 222), (16, 8), 0, 0, 360, (245, 245, 245), -1)
        cv2.circle(picture, (x, 222), 7, (40, 40, 40), -1)
        cv2.ellipse(picture, (x, 202), (20, 6), 0, 180, 360, (30, 40, 60), 4)
    cv2.line(picture, (320, 228), (312, 268), (100, 130, 185), 4)
    cv2.ellipse(picture, (320, 270), (14, 6), 0, 0, 180, (100, 130, 185), 4)
    cv2.ellipse(picture, (320, 302), (30, 12), 0, 0, 180, (70, 70, 180), -1)
    return cv2.imencode(".jpg", cv2.GaussianBlur(picture, (0, 0), 2))[1].tobytes()
