"""What a client is told of each entity, with every key of the documentation, always."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from shared.visits import Direction, Gender
from workers.lib.boxes import clip_boxes
from workers.models import expression
from workers.people import HEADS_ASIDE, HEADS_DOWN
from workers.scene.person import Look, Person
from workers.scene.sightings import Sighting

Array = npt.NDArray[Any]

Roi = tuple[int, int, int, int]
Point = tuple[int, int]

#: What an old look at an expression is worth falls to 1/e in so many seconds.
_FADING = 2.0


class Event(BaseModel):
    entity_id: str = Field(description="The entity that it happened to; it is in `entities`.")
    entity_type: str = Field(default="human", description="Always human.")
    type: str = Field(
        description="appearance, disappearance, age_estimated, gender_estimated, focus_locked, emotion_detected or direction_estimated."
    )
    confidence: float = Field(ge=0, le=1, description="The probability that it really happened.")
    key: str = Field(description="The key of the entity's value that it is about.")


class Entity(BaseModel):
    """One person in view. Angles are radians; what is not known yet is null. A confidence of 0: not of this frame."""

    face_roi: Roi = Field(description="[x, y, width, height] of the face; of the head where no face is seen (confidence 0).")
    face_roi_confidence: float = Field(ge=0, le=1)
    full_body_roi: Roi = Field(
        description="[x, y, width, height] of as much of the person as is seen; hidden: where last seen (confidence 0)."
    )
    full_body_roi_confidence: float = Field(ge=0, le=1)
    age: float | None = Field(None, description="Years, the running estimate.")
    age_confidence: float = Field(0, ge=0, le=1, description="The probability that the true age is within 5 years.")
    gender: Gender | None = None
    gender_confidence: float = Field(0, ge=0, le=1)
    emotion_anger: float | None = Field(None, description="0..1; the five emotions add up to 1.")
    emotion_surprise: float | None = None
    emotion_sadness: float | None = None
    emotion_neutral: float | None = None
    emotion_happiness: float | None = None
    emotion_smiling_degree: float | None = None
    emotion_confidence: float = Field(0, ge=0, le=1)
    face_eye: tuple[Point, Point] | None = Field(
        None, description="The eye on the left of the picture, then the other; of a face that was seen before: where in face_roi."
    )
    face_mouth: Point | None = None
    face_nose: Point | None = None
    face_confidence: float = Field(0, ge=0, le=1)
    gaze: tuple[float, float] | None = Field(
        None, description="Yaw > 0 to the right of the picture, pitch > 0 upwards; 0, 0 into the camera. As last seen, like head."
    )
    gaze_confidence: float = Field(0, ge=0, le=1)
    head: tuple[float, float, float] | None = Field(None, description="Yaw, pitch, roll > 0 clockwise.")
    head_confidence: float = Field(0, ge=0, le=1)
    direction: Direction = Field("unknown", description="Where the person went in the picture, on average.")


def remember_boxes(person: Person, sighting: Sighting, look: Look | None, size: tuple[int, int]) -> None:
    """Keep where this frame showed the person: also for frames in which something hides them. ``size``: [width, height] of the picture."""
    head = sighting.head if sighting.head is not None else _head_of(sighting.box)
    person.body = _roi(sighting.whole, size)
    person.body_score = round(sighting.score, 4)
    person.face = _roi(head if look is None else look.box, size)
    person.face_score = 0.0 if look is None else round(look.score, 4)
    if look is not None:
        person.points, person.points_roi = _inside(look.points, size), person.face


def entity(person: Person, now: float, size: tuple[int, int], *, seen: bool) -> Entity:
    """What is to be told at second ``now`` of a person who was ``seen`` in this frame, or is hidden. ``size``: [width, height] of the picture."""
    fields: dict[str, Any] = {
        "face_roi": person.face,
        "face_roi_confidence": person.face_score if seen else 0.0,
        "full_body_roi": person.body,
        "full_body_roi_confidence": person.body_score if seen else 0.0,
        "direction": person.stay.direction,
    }
    if person.age is not None:
        fields |= {"age": round(person.age, 1), "age_confidence": round(person.demography.age_confidence, 4)}
    if person.gender is not None:
        fields |= {"gender": person.gender, "gender_confidence": round(person.demography.gender_confidence, 4)}
    fields |= _emotions(person, now)
    if person.points:
        fields |= _face(person, size, fields["face_roi_confidence"])
    return Entity(**fields)


def _face(person: Person, size: tuple[int, int], sure: float) -> dict[str, Any]:
    """Where the face looks and where its parts are, or were within its box: programs of 2018 unpack them of whoever is told of."""
    left, right, nose, mouth_left, mouth_right = _inside(_moved(person), size)
    return {
        "face_eye": (left, right),
        "face_nose": nose,
        "face_mouth": [(mouth_left[0] + mouth_right[0]) // 2, (mouth_left[1] + mouth_right[1]) // 2],
        "face_confidence": sure,
        "gaze": person.gaze,
        "gaze_confidence": round(sure * person.gaze_certainty, 4),
        "head": person.head,
        "head_confidence": sure,
    }


def _moved(person: Person) -> Array:
    """float [5, 2]: where the parts of the face are when they lie in its box as when they were last seen."""
    now, then = np.array(person.face), np.array(person.points_roi or person.face)
    scale: Array = np.maximum(now[2:], 1) / np.maximum(then[2:], 1)
    moved: Array = now[:2] + (np.array(person.points) - then[:2]) * scale
    return moved


def _inside(points: Array, size: tuple[int, int]) -> list[list[int]]:
    """The nearest pixels of the picture."""
    pixels: list[list[int]] = np.clip(np.rint(points), 0, np.array(size) - 1).astype(int).tolist()
    return pixels


def _emotions(person: Person, now: float) -> dict[str, Any]:
    values = person.expressions.values
    if not values:
        return {}
    fields: dict[str, Any] = {f"emotion_{name}": round(value, 4) for name, value in zip(expression.EXPRESSIONS, values, strict=True)}
    worth = person.expressions.quality * math.exp(-max(0.0, now - person.expressions.at) / _FADING)
    return fields | {"emotion_smiling_degree": fields["emotion_happiness"], "emotion_confidence": round(worth, 4)}


def _head_of(box: Array) -> Array:
    """Of the box from the head to the hips, as `workers.scene.sightings` makes it."""
    width, height = box[2] / (2 * HEADS_ASIDE), box[3] / HEADS_DOWN
    return np.array([box[0] + (box[2] - width) / 2, box[1], width, height])


def _roi(box: Array, size: tuple[int, int]) -> list[int]:
    return [int(value) for value in clip_boxes(np.asarray(box), *size)[0]]
