"""What was found, drawn over the picture: boxes, who, where they look, what happened."""

from __future__ import annotations

import math
from typing import Any

import cv2

from sensorium.cameras import Pixels

_GREEN, _BLUE, _RED, _WHITE = (80, 200, 80), (220, 160, 60), (60, 60, 230), (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_EMOTIONS = ("anger", "surprise", "sadness", "neutral", "happiness")


def draw(picture: Pixels, answer: dict[str, Any], recent: list[str]) -> Pixels:
    """A copy of ``picture`` (uint8 [height, width, 3] BGR) with the entities of a scene analysis's ``answer`` and ``recent`` events as text."""
    drawn = picture.copy()
    for number, entity in answer.get("entities", {}).items():
        _draw_entity(drawn, number, entity)
    for line, text in enumerate(recent):
        _write(drawn, text, (8, 20 + 18 * line))
    return drawn


def _draw_entity(drawn: Pixels, number: str, entity: dict[str, Any]) -> None:
    _box(drawn, entity["full_body_roi"], _BLUE if entity["full_body_roi_confidence"] else _WHITE)
    x, y, width, height = entity["face_roi"]
    if entity["face_roi_confidence"]:
        _box(drawn, entity["face_roi"], _GREEN)
    _write(drawn, caption(number, entity), (x, max(12, y - 6)))
    if entity["gaze_confidence"]:
        yaw, pitch = entity["gaze"]
        for eye in entity["face_eye"]:
            end = (round(eye[0] + math.sin(yaw) * width), round(eye[1] - math.sin(pitch) * height))
            cv2.arrowedLine(drawn, (int(eye[0]), int(eye[1])), end, _RED, 2)


def caption(number: str, entity: dict[str, Any]) -> str:
    """One line about an entity: the beginning of its id, age, gender, and the strongest expression."""
    parts = [number[:4]]
    if entity["age"] is not None:
        parts.append(f"{entity['age']:.0f} {entity['gender'] or ''}".strip())
    values = {name: entity[f"emotion_{name}"] for name in _EMOTIONS if entity[f"emotion_{name}"] is not None}
    if values:
        parts.append(max(values, key=lambda name: values[name]))
    return " ".join(parts)


def _box(drawn: Pixels, roi: list[int], colour: tuple[int, int, int]) -> None:
    x, y, width, height = (int(value) for value in roi)
    cv2.rectangle(drawn, (x, y), (x + width, y + height), colour, 2)


def _write(drawn: Pixels, text: str, place: tuple[int, int]) -> None:
    # A shadow rather than an outline: OpenCV 5 sets bolder letters wider.
    cv2.putText(drawn, text, (place[0] + 1, place[1] + 1), _FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(drawn, text, place, _FONT, 0.5, _WHITE, 1, cv2.LINE_AA)
