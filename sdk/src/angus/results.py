"""The services' answers as dataclasses: ``job.parse(FaceDetection).faces[0].roi``.

Boxes (``roi``) are (x, y, width, height) and points (x, y) in whole pixels of the picture, confidences and intensities 0 to 1, angles in
radians: yaw > 0 to the right of the picture, pitch > 0 upwards, roll > 0 clockwise. What a service does not know yet is None.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Optional, TypeVar

T = TypeVar("T")
Roi = tuple[int, int, int, int]
Point = tuple[int, int]


@dataclass(frozen=True)
class Dummy:
    """``count``: frames of the session so far, with a session."""

    echo: str
    count: Optional[int] = None


@dataclass(frozen=True)
class Face:
    """``id``: the same for a person from frame to frame, with a session."""

    roi: Roi
    roi_confidence: float
    id: Optional[int] = None


@dataclass(frozen=True)
class FaceDetection:
    """``input_size``: (width, height) of the picture."""

    input_size: tuple[int, int]
    nb_faces: int
    faces: list[Face]


@dataclass(frozen=True)
class AgedFace:
    """``age`` in years; ``gender``: male or female. None where the stream has it switched off."""

    roi: Roi
    roi_confidence: float
    age: Optional[int] = None
    age_confidence: Optional[float] = None
    gender: Optional[str] = None
    gender_confidence: Optional[float] = None
    id: Optional[int] = None


@dataclass(frozen=True)
class AgeAndGenderEstimation:
    """Age and gender of each face."""

    input_size: tuple[int, int]
    nb_faces: int
    faces: list[AgedFace]


@dataclass(frozen=True)
class ExpressiveFace:
    """The intensity of each expression."""

    roi: Roi
    roi_confidence: float
    neutral: float
    happiness: float
    surprise: float
    anger: float
    sadness: float
    id: Optional[int] = None


@dataclass(frozen=True)
class FaceExpressionEstimation:
    """The expression of each face."""

    input_size: tuple[int, int]
    nb_faces: int
    faces: list[ExpressiveFace]


@dataclass(frozen=True)
class Name:
    """A person of the album, and the probability that the face is this person's."""

    key: str
    confidence: float


@dataclass(frozen=True)
class NamedFace:
    """``names``: everybody in the album, the most likely first."""

    roi: Roi
    roi_confidence: float
    names: list[Name]
    id: Optional[int] = None


@dataclass(frozen=True)
class AlbumError:
    """A sample of the album that is of no use, and why."""

    key: str
    sample: str
    error: str


@dataclass(frozen=True)
class FaceRecognition:
    """``album_errors``: the samples that are of no use; None when all are good."""

    input_size: tuple[int, int]
    nb_faces: int
    faces: list[NamedFace]
    album_errors: Optional[list[AlbumError]] = None


@dataclass(frozen=True)
class LookingFace:
    """Where the head is turned and the eyes look."""

    roi: Roi
    roi_confidence: float
    eye_left: Point
    eye_right: Point
    nose: Point
    head_yaw: float
    head_pitch: float
    head_roll: float
    gaze_yaw: float
    gaze_pitch: float
    #: the probability that the gaze is right to 10 degrees; None where the network made for gazes measured it
    gaze_confidence: Optional[float] = None
    id: Optional[int] = None


@dataclass(frozen=True)
class GazeAnalysis:
    """The gaze of each face."""

    input_size: tuple[int, int]
    nb_faces: int
    faces: list[LookingFace]


@dataclass(frozen=True)
class MotionTarget:
    """``mean_velocity``: pixels a frame."""

    mean_position: tuple[float, float]
    mean_velocity: tuple[float, float]
    confidence: float


@dataclass(frozen=True)
class MotionDetection:
    """What moves, the largest first."""

    input_size: tuple[int, int]
    nb_targets: int
    targets: list[MotionTarget]


@dataclass(frozen=True)
class Code:
    """``corners``: in order around the code, beginning with the corner that is top left when it is upright."""

    text: str
    type: str
    corners: list[Point]


@dataclass(frozen=True)
class QrcodeDecoder:
    """``type`` and ``data`` are those of the first code; None when there is none."""

    codes: list[Code]
    type: Optional[str] = None
    data: Optional[str] = None


@dataclass(frozen=True)
class UpperBody:
    """A person from head to hips."""

    upper_body_roi: Roi
    upper_body_roi_confidence: float
    id: Optional[int] = None


@dataclass(frozen=True)
class UpperBodyDetection:
    """People, faces seen or not."""

    input_size: tuple[int, int]
    nb_upper_bodies: int
    upper_bodies: list[UpperBody]


@dataclass(frozen=True)
class Event:
    """Something that happened to an entity. ``key`` names the entity's value that it is about."""

    entity_id: str
    type: str
    confidence: float
    key: str
    entity_type: str = "human"


@dataclass(frozen=True)
class Entity:
    """One person in view; a value that is not known is None, with a confidence of 0."""

    face_roi: Roi
    face_roi_confidence: float
    full_body_roi: Roi
    full_body_roi_confidence: float
    age: Optional[float] = None
    age_confidence: float = 0.0
    gender: Optional[str] = None
    gender_confidence: float = 0.0
    emotion_anger: Optional[float] = None
    emotion_surprise: Optional[float] = None
    emotion_sadness: Optional[float] = None
    emotion_neutral: Optional[float] = None
    emotion_happiness: Optional[float] = None
    emotion_smiling_degree: Optional[float] = None
    emotion_confidence: float = 0.0
    face_eye: Optional[tuple[Point, Point]] = None
    face_mouth: Optional[Point] = None
    face_nose: Optional[Point] = None
    face_confidence: float = 0.0
    gaze: Optional[tuple[float, float]] = None
    gaze_confidence: float = 0.0
    head: Optional[tuple[float, float, float]] = None
    head_confidence: float = 0.0
    direction: str = "unknown"


@dataclass(frozen=True)
class SceneAnalysis:
    """``entities``: everybody in view by entity id; ``events``: what happened with this frame."""

    timestamp: str
    input_size: tuple[int, int]
    events: list[Event]
    entities: dict[str, Entity]


@dataclass(frozen=True)
class SoundEvent:
    """``type``: sound_on or sound_off; ``index``: the frame of the sound at which it begins or ends."""

    index: int
    type: str


@dataclass(frozen=True)
class SoundClass:
    """``name``, ``mid``: AudioSet's; ``confidence``: the probability that this is among what sounds."""

    name: str
    mid: str
    confidence: float


@dataclass(frozen=True)
class NamedSound:
    """``classes``: what is heard in it, the most probable first. ``start_index``: the frame at which it begins, None where that was in an
    earlier piece of the session; ``end_index``: at which it ends, None where it goes on after this piece."""

    classes: list[SoundClass]
    start_index: Optional[int] = None
    end_index: Optional[int] = None


@dataclass(frozen=True)
class SoundDetection:
    """``input_size``: number of frames of the sound. ``sounds``: with ``classes``; None without."""

    input_size: int
    nb_events: int
    events: list[SoundEvent]
    sounds: Optional[list[NamedSound]] = None


@dataclass(frozen=True)
class SoundSource:
    """``yaw``: 0 straight ahead, > 0 towards the second microphone."""

    index: int
    yaw: float
    confidence: float


@dataclass(frozen=True)
class SoundLocalization:
    """The directions that sounds come from, the strongest first."""

    input_size: int
    nb_sources: int
    sources: list[SoundSource]


@dataclass(frozen=True)
class VoiceDetection:
    """``voice_activity``: SILENCE, ON, VOICE or OFF."""

    voice_activity: str


@dataclass(frozen=True)
class TextToSpeech:
    """``sound``: a WAV file as `angus.sound.decode` reads it; ``voice``: whose it is."""

    sound: str
    voice: str = ""


#: Which answer is whose.
BY_SERVICE: Mapping[str, type[Any]] = {
    "age_and_gender_estimation": AgeAndGenderEstimation,
    "dummy": Dummy,
    "face_detection": FaceDetection,
    "face_expression_estimation": FaceExpressionEstimation,
    "face_recognition": FaceRecognition,
    "gaze_analysis": GazeAnalysis,
    "motion_detection": MotionDetection,
    "qrcode_decoder": QrcodeDecoder,
    "scene_analysis": SceneAnalysis,
    "sound_detection": SoundDetection,
    "sound_localization": SoundLocalization,
    "text_to_speech": TextToSpeech,
    "upper_body_detection": UpperBodyDetection,
    "voice_detection": VoiceDetection,
}


def parse(kind: type[T], document: Mapping[str, Any]) -> T:
    """The document as a dataclass. Keys that it has no field for are passed over.

    Raises `ValueError` when something is missing or of another shape: of a job that is not finished or has failed, or of another service.
    """
    if not isinstance(document, Mapping):
        raise ValueError(f"this is not the answer of a job: {document!r}")
    if "error" in document:
        raise ValueError(f"the job has no answer: {document['error']}")
    try:
        made: T = _made(kind, document)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"this is no answer of {kind.__name__} ({error})") from None
    return made


def _made(hint: Any, value: Any) -> Any:
    """The JSON value as its type has it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint(**{name: _made(of, value[name]) for name, of in _hints(hint).items() if name in value})
    if origin is typing.Union:  # Optional
        return None if value is None else _made(inner[0], value)
    if origin is list:
        return [_made(inner[0], one) for one in value]
    if origin is dict:
        return {key: _made(inner[1], one) for key, one in value.items()}
    return tuple(_made(of, one) for of, one in zip(inner, value)) if origin is tuple else value


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)
