"""The seven events, and what a client's sensitivities do to them.

A sensitivity, 0 to 1, chooses a threshold and nothing else: who is followed, what is estimated and what goes on (episodes) are the same for
every client. So on the same frames a higher sensitivity never gives fewer events of its kind.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from workers.models import expression
from workers.scene.following import Track
from workers.scene.person import Person

#: What the sightings of somebody new must prove together (`Sighting.proof`) at sensitivity 0.5; half of it at 1, twice at 0.
_APPEARANCE = 3.0
#: Seconds out of sight at sensitivity 0.5: of somebody who was leaving the picture, and of somebody in its middle, whom something hides.
_LEAVING, _HIDDEN = 0.35, 1.5
#: An expression goes on from the first value until it falls below the second.
_EXPRESSED, _NO_MORE = 0.35, 0.25
#: A second event of age and gender comes when hardly anything will change any more.
_SETTLED = 0.95
_EMOTIONS = tuple(name for name in expression.EXPRESSIONS if name != "neutral")
_EDGE = 0.01  # of the picture's width
_SOON = 0.5  # seconds


class Sensitivity(BaseModel):
    """How easily each event comes, 0 (seldom) to 1 (often)."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    appearance: float = Field(default=0.5, ge=0, le=1)
    disappearance: float = Field(default=0.5, ge=0, le=1)
    age_estimated: float = Field(default=0.5, ge=0, le=1)
    gender_estimated: float = Field(default=0.5, ge=0, le=1)
    focus_locked: float = Field(default=0.5, ge=0, le=1)
    emotion_detected: float = Field(default=0.5, ge=0, le=1)
    direction_estimated: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class Told:
    """An event of one person. ``key``: the value of the entity that it is about; ``confidence`` 0..1."""

    type: str
    key: str
    confidence: float


def appears(person: Person, track: Track, sensitivity: Sensitivity) -> Told | None:
    """Somebody new is believed. What was seen of the track before counts: who comes back is known already."""
    if person.shown or track.evidence < _APPEARANCE * _halving(sensitivity.appearance):
        return None
    person.shown = True
    return Told("appearance", "full_body_roi", person.body_score)


def disappears(person: Person, now: float, size: tuple[int, int], sensitivity: Sensitivity, *, over: bool = False) -> Told | None:
    """Nobody saw the person for longer than patience lasts, which is short for who was leaving the picture. ``size``: its [width, height].
    ``over``: nobody is looked for any more, or the person turned out to be another one."""
    usual = _LEAVING if _was_leaving(person, size) else _HIDDEN
    patience = usual * _halving(sensitivity.disappearance)
    away = now - person.stay.last
    if person.gone or (away <= patience + 1e-6 and not over):
        return None
    person.gone = True
    if not person.shown:
        return None
    return Told("disappearance", "full_body_roi", round(min(1.0, 0.5 + away / (4 * usual)), 4))


def happenings(person: Person, now: float, sensitivity: Sensitivity) -> list[Told]:
    """What else there is to tell of somebody who was seen in this frame. Episodes go on also while nobody is told of them."""
    told = _demography(person, sensitivity) if person.shown else []
    told += _focus(person, now, sensitivity)
    told += _emotions(person, now, sensitivity)
    threshold = 1.6 - 1.2 * sensitivity.direction_estimated
    stay = person.stay
    went = stay.furthest >= threshold and stay.direction != "unknown"
    if person.shown and went and not stay.tellings.get("direction"):
        stay.tellings["direction"] = 1
        told.append(Told("direction_estimated", "direction", round(min(1.0, 0.5 + stay.furthest / 4), 4)))
    return told


def _demography(person: Person, sensitivity: Sensitivity) -> list[Told]:
    known = person.demography
    told = []
    for name, proof, confidence, chosen in (
        ("age", known.settled, known.age_confidence, sensitivity.age_estimated),
        ("gender", person.gender_proof, known.gender_confidence, sensitivity.gender_estimated),
    ):
        if name in person.off:
            continue
        threshold = 0.9 - 0.6 * chosen
        due = (proof >= threshold) + (proof >= _SETTLED)
        if person.stay.tellings.get(name, 0) < due:
            person.stay.tellings[name] = person.stay.tellings.get(name, 0) + 1
            told.append(Told(f"{name}_estimated", name, round(confidence, 4)))
    return told


def _focus(person: Person, now: float, sensitivity: Sensitivity) -> list[Told]:
    if not person.focus or person.gaze_at != now:
        return []
    rested = now - person.focus[0]
    if rested + 1e-6 < 3.0 - 2.4 * sensitivity.focus_locked or person.episodes.get("focus") or not person.shown:
        return []
    person.episodes["focus"] = True
    return [Told("focus_locked", "gaze", round(min(1.0, 0.5 + rested / 6), 4))]


def _emotions(person: Person, now: float, sensitivity: Sensitivity) -> list[Told]:
    """One event an episode at most, when the expression is first as strong as asked for."""
    if person.expressions.at != now:
        return []
    told = []
    values = dict(zip(expression.EXPRESSIONS, person.expressions.values, strict=True))
    for name in _EMOTIONS:
        value = values[name]
        if value < _NO_MORE:
            person.episodes.pop(name, None)
        elif value >= _EXPRESSED:
            person.episodes.setdefault(name, False)
        if person.shown and person.episodes.get(name) is False and value >= 0.9 - 0.5 * sensitivity.emotion_detected:
            person.episodes[name] = True
            told.append(Told("emotion_detected", f"emotion_{name}", round(value, 4)))
    return told


def _halving(sensitivity: float) -> float:
    """2 at sensitivity 0, 1 at 0.5, 0.5 at 1."""
    return float(2.0 ** (1 - 2 * sensitivity))


def _was_leaving(person: Person, size: tuple[int, int]) -> bool:
    """Whether the person was last seen at the left or right edge, or on the way out of the picture."""
    if not person.body:
        return False
    width, height = size
    left, right = person.body[0], person.body[0] + person.body[2]
    x = person.box[0] + person.box[2] / 2 + _SOON * person.velocity[0]
    y = person.box[1] + 0.15 * person.box[3] + _SOON * person.velocity[1]
    at_edge = left <= _EDGE * width or right >= (1 - _EDGE) * width
    return at_edge or not (0 <= x < width and 0 <= y < height)
