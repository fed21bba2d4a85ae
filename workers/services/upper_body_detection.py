"""People: how many, and where, from their heads to their hips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from workers.contract import Image, Input, Item, Models, Output, Service
from workers.faces import detect_faces
from workers.lib import assignment
from workers.lib.boxes import clip_boxes
from workers.lib.people import People
from workers.lib.tracks import Tracks, follow
from workers.models import people_detector
from workers.models.face_detector import FaceDetector, open_face_detector
from workers.models.people_detector import PeopleDetector, open_people_detector
from workers.people import drawn_person, upper_bodies

Array = npt.NDArray[Any]


class UpperBodyDetectionInput(Input):
    image: Image = Field(description="The picture to look at, JPEG or PNG.")


class UpperBody(BaseModel):
    upper_body_roi: tuple[int, int, int, int] = Field(
        description="[x, y, width, height] in pixels, inside the picture: from the top of the head to the hips, with the arms as far as they hang."
    )
    upper_body_roi_confidence: float = Field(ge=0, le=1, description="The probability that there is a human upper body in the roi.")
    id: int | None = Field(None, ge=1, description="The same for a person from frame to frame. Only with a session.")


class UpperBodyDetectionOutput(Output):
    omit_none = True

    input_size: tuple[int, int] = Field(description="[width, height] of the picture in pixels.")
    nb_upper_bodies: int = Field(ge=0, description="The number of upper bodies.")
    upper_bodies: list[UpperBody] = Field(description="The upper bodies: the most certain first, with a session the longest known first.")


class UpperBodyDetectionState(BaseModel):
    """The people that are followed in a session."""

    tracks: Tracks = Field(default_factory=Tracks)


class UpperBodyDetection(Service[UpperBodyDetectionInput, UpperBodyDetectionOutput]):
    """Do I see a human? How many? Where? Also from behind, or with the face hidden.

    Each picture stands alone. With a session people are followed over its frames: a person is reported from the fourth
    consecutive frame on, keeps the `id`, also when out of sight for a few frames, and the roi is smoothed.
    """

    name = "upper_body_detection"
    input_type = UpperBodyDetectionInput
    output_type = UpperBodyDetectionOutput
    state_type: ClassVar[type[BaseModel]] = UpperBodyDetectionState
    models = (people_detector.MODEL,)
    max_batch = 16

    _people: PeopleDetector
    #: Opened only for a network that finds bodies alone.
    _faces: FaceDetector | None

    def load(self, models: Models) -> None:
        self._people = open_people_detector(models)
        self._faces = open_face_detector(models) if self._people.needs_faces else None
        assignment.solver()

    def prepare(self, inputs: Sequence[UpperBodyDetectionInput]) -> None:
        if self._faces is not None:
            detect_faces(self._faces, [given.image for given in inputs])

    def process(self, batch: Sequence[Item[UpperBodyDetectionInput]]) -> Sequence[UpperBodyDetectionOutput]:
        images = [item.input.image for item in batch]
        faces = detect_faces(self._faces, images) if self._faces is not None else ()
        found = self._people.detect([image.pixels for image in images], faces)
        return [_answer(item, seen) for item, seen in zip(batch, found, strict=True)]

    @classmethod
    def example(cls) -> UpperBodyDetectionInput:
        """Somebody drawn with a brush: enough for the network to find one."""
        return UpperBodyDetectionInput(image=Image(drawn_person()))


def _answer(item: Item[UpperBodyDetectionInput], found: People) -> UpperBodyDetectionOutput:
    width, height = item.input.image.size
    boxes, chances = upper_bodies(found)
    numbers: Sequence[int | None] = [None for _ in chances]
    if item.state is not None:
        seen = follow(item.state.tracks, boxes, chances, skipped=item.skipped).seen
        reported = sorted((track for track in seen if track.confirmed), key=lambda track: track.id)
        boxes, numbers = np.array([track.box for track in reported]), [track.id for track in reported]
        chances = np.array([track.score for track in reported])
    rois = clip_boxes(boxes, width, height).tolist()
    bodies = [
        UpperBody(upper_body_roi=roi, upper_body_roi_confidence=round(float(chance), 4), id=number)
        for roi, chance, number in zip(rois, chances, numbers, strict=True)
    ]
    return UpperBodyDetectionOutput(input_size=(width, height), nb_upper_bodies=len(bodies), upper_bodies=bodies)
