"""What the services that look at faces have in common: found once per picture, followed in a session, measurements smoothed.

A service of this kind is a `FaceService` with a `measure` for the faces of all items together and a `face` for one of the answer.
"""

from __future__ import annotations

import hashlib
import threading
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from shared.privacy import Analysis
from workers.contract import Image, Input, Item, Models, Output, Service
from workers.lib import assignment
from workers.lib.boxes import clip_boxes
from workers.lib.faces import Faces, Sight, at_once, in_groups
from workers.lib.smoothing import Smoothed, smooth
from workers.lib.tracks import Tracks, follow
from workers.models.face_detector import FaceDetector, open_face_detector

Array = npt.NDArray[Any]

MOST_FACES, MOST_FACES_ON_CPU = at_once("cuda"), at_once("cpu")


class FaceInput(Input):
    image: Image = Field(description="The picture to look at, JPEG or PNG.")


class Face(BaseModel):
    roi: tuple[int, int, int, int] = Field(description="[x, y, width, height] of the face in pixels, inside the picture.")
    roi_confidence: float = Field(ge=0, le=1, description="The probability that there is a face in the roi.")
    id: int | None = Field(None, ge=1, description="The same for a face from frame to frame. Only with a session.")


AnyFace = TypeVar("AnyFace", bound=Face)


class FaceOutput(Output, Generic[AnyFace]):
    omit_none = True

    input_size: tuple[int, int] = Field(description="[width, height] of the picture in pixels.")
    nb_faces: int = Field(ge=0, description="The number of faces.")
    faces: list[AnyFace] = Field(description="The faces: the most certain first, with a session the longest known first.")


class FaceState(BaseModel):
    """What a session remembers: the faces that are followed, and what was measured of each, by its id, with these analyses ``off``.

    ``weights``: which networks measured. During an upgrade the frames of one session may come to workers with other ones.
    """

    tracks: Tracks = Field(default_factory=Tracks)
    frame: int = 0
    measured: dict[int, Smoothed] = Field(default_factory=dict)
    off: list[str] = Field(default_factory=list)
    weights: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A face to be reported. ``box`` float [4]: x, y, width, height in pixels, not clipped; ``size``: [width, height] of the
    picture; ``values`` float64 [k]: what `FaceService.measure` gave, smoothed with a session; ``common``: the fields of `Face`; ``off``: the
    analyses that the stream has switched off."""

    box: Array
    size: tuple[int, int]
    values: Array
    common: dict[str, Any]
    off: tuple[Analysis, ...] = ()


class FaceService(Service[FaceInput, FaceOutput[AnyFace]], Generic[AnyFace]):
    """Base of the services that say something about each face."""

    input_type = FaceInput
    output_type: ClassVar[type[FaceOutput[Any]]]
    state_type: ClassVar[type[BaseModel]] = FaceState
    max_batch = 16
    #: Frames over which `measure`'s values are smoothed in a session, see `workers.lib.smoothing`.
    memory: ClassVar[float] = 1.0

    _detector: FaceDetector

    def load(self, models: Models) -> None:
        self._detector = open_face_detector(models)
        assignment.solver()

    @cached_property
    def _measured_by(self) -> str:
        """16 hex digits that stand for `weights`, which are the same from `load` on."""
        return hashlib.sha256(" ".join(self.weights()).encode()).hexdigest()[:16]

    def prepare(self, inputs: Sequence[FaceInput]) -> None:
        detect_faces(self._detector, [given.image for given in inputs])

    def weights(self) -> Sequence[str]:
        """The digests of all weights that shape what `measure` gives."""
        return (self._detector.sha256,)

    def measure(self, sights: Sequence[Sight]) -> Array:
        """float [n, k], finite, k fixed: what is to be known of the n faces of all pictures, picture by picture, n at least 1.

        Such numbers that their mean over frames makes sense: logarithms of odds rather than probabilities.
        """
        return np.zeros((sum(map(len, sights)), 0))

    def without(self, values: Array, off: tuple[Analysis, ...]) -> Array:
        """The measurements [n, k] without what is switched off, for services that are for more than one analysis."""
        return values

    @abstractmethod
    def face(self, seen: Seen) -> AnyFace:
        """The answer about one face."""

    def process(self, batch: Sequence[Item[FaceInput]]) -> Sequence[FaceOutput[AnyFace]]:
        found = detect_faces(self._detector, [item.input.image for item in batch])
        sights = [Sight.of(item.input.image.pixels, faces) for item, faces in zip(batch, found, strict=True)]
        groups = [self.measure(group) for group in in_groups(sights, at_once(self._detector.device))]
        values = np.concatenate(groups) if groups else np.zeros((0, 0))
        parts = np.split(values, np.cumsum([len(faces) for faces in found])[:-1])
        return [self._answer(item, faces, part) for item, faces, part in zip(batch, found, parts, strict=True)]

    def _answer(self, item: Item[FaceInput], found: Faces, values: Array) -> FaceOutput[AnyFace]:
        size, values = item.input.image.size, self.without(values, item.off)
        boxes, chances = found.boxes, found.chances
        numbers: Sequence[int | None] = [None for _ in chances]
        if item.state is not None:
            _keep_apart(item, self._measured_by)
            boxes, chances, numbers, values = _follow(item, boxes, chances, values, self.memory)
        faces = [
            self.face(Seen(box, size, row, {"roi": tuple(roi), "roi_confidence": round(float(chance), 4), "id": number}, item.off))
            for box, roi, chance, number, row in zip(boxes, clip_boxes(boxes, *size).tolist(), chances, numbers, values, strict=True)
        ]
        return self.output_type(input_size=size, nb_faces=len(faces), faces=faces)

    @classmethod
    def example(cls) -> FaceInput:
        """A face drawn with a brush: enough for the networks to find one."""
        return FaceInput(image=Image(drawn_face()))


def _keep_apart(item: Item[FaceInput], weights: str) -> None:
    """Forget what was measured with other analyses off, which is not to be told, or by other networks, which is not to be mixed with theirs."""
    state: FaceState = item.state
    if state.off != list(item.off) or state.weights not in ("", weights):  # "": written by a release that did not say
        state.measured = {}
    state.off, state.weights = list(item.off), weights


def _follow(item: Item[FaceInput], boxes: Array, chances: Array, values: Array, memory: float) -> tuple[Array, Array, Sequence[int], Array]:
    """Boxes, probabilities, ids and values of the confirmed faces of this frame, smoothed, the longest known first."""
    state: FaceState = item.state
    state.frame += 1 + item.skipped
    seen = follow(state.tracks, boxes, chances, skipped=item.skipped).seen
    alive = {track.id for track in state.tracks.tracks}
    state.measured = {number: known for number, known in state.measured.items() if number in alive}
    for track, row in zip(seen, values, strict=True):
        state.measured[track.id] = smooth(state.measured.get(track.id), row, frame=state.frame, memory=memory)
    reported = sorted((track for track in seen if track.confirmed), key=lambda track: track.id)
    return (
        np.array([track.box for track in reported]).reshape(-1, 4),
        np.array([track.score for track in reported]),
        [track.id for track in reported],
        np.array([state.measured[track.id].values for track in reported]),
    )


# Faces found once per picture

_found: WeakKeyDictionary[Image, dict[str, Faces]] = WeakKeyDictionary()
_finding = threading.Lock()  # of the table, not of the work: a picture that two threads ask for at once is looked at twice


def detect_faces(detector: FaceDetector, images: Sequence[Image]) -> list[Faces]:
    """The faces of each picture as ``detector`` finds them, remembered as long as the `Image` lives.

    So several services that are given one and the same `Image` look for its faces once.
    """
    with _finding:
        known = [_found.get(image, {}).get(detector.sha256) for image in images]
    missing = [image for image, faces in zip(images, known, strict=True) if faces is None]
    if missing:
        looked = detector.detect([image.pixels for image in missing])
        with _finding:
            for image, faces in zip(missing, looked, strict=True):
                _found.setdefault(image, {})[detector.sha256] = faces
    fresh = iter(looked if missing else [])
    return [next(fresh) if faces is None else faces for faces in known]


def drawn_face() -> bytes:
    """A JPEG of 640 x 480 with one face, with as much of a person around it as the less imaginative networks want."""
    skin, shade, hair, ink, lips = (140, 175, 225), (120, 155, 205), (30, 40, 60), (40, 50, 70), (70, 70, 180)
    picture = np.full((480, 640, 3), (150, 140, 130), np.uint8)
    cv2.ellipse(picture, (320, 470), (190, 110), 0, 180, 360, (90, 60, 50), -1)
    cv2.rectangle(picture, (285, 320), (355, 400), shade, -1)
    cv2.ellipse(picture, (320, 200), (100, 120), 0, 0, 360, hair, -1)
    for x in (236, 404):
        cv2.ellipse(picture, (x, 245), (12, 24), 0, 0, 360, shade, -1)
    cv2.ellipse(picture, (320, 240), (85, 115), 0, 0, 360, skin, -1)
    cv2.ellipse(picture, (320, 160), (84, 45), 0, 180, 360, hair, -1)
    for x in (286, 354):
        cv2.ellipse(picture, (x, 222), (24, 16), 0, 0, 360, shade, -1)
        cv2.ellipse(picture, (x, 222), (17, 8), 0, 0, 360, (235, 235, 235), -1)
        cv2.circle(picture, (x, 222), 8, ink, -1)
        cv2.ellipse(picture, (x, 221), (18, 9), 0, 180, 360, ink, 3)
        cv2.ellipse(picture, (x, 204), (22, 7), 0, 190, 350, ink, 6)
    for x in (272, 368):
        cv2.ellipse(picture, (x, 275), (18, 14), 0, 0, 360, (140, 165, 230), -1)
    cv2.line(picture, (326, 225), (330, 262), shade, 6)
    cv2.ellipse(picture, (320, 272), (18, 9), 0, 0, 180, shade, -1)
    for x in (311, 329):
        cv2.circle(picture, (x, 275), 4, (60, 80, 120), -1)
    cv2.ellipse(picture, (320, 302), (30, 12), 0, 0, 180, lips, -1)
    return cv2.imencode(".jpg", cv2.GaussianBlur(picture, (0, 0), 3.5))[1].tobytes()
