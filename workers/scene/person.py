"""What is known of one person over time: where, how long, standing, looking, and who.

A track (`workers.scene.following`) is somebody who is followed. What a client is told of is an entity: a track while it is in view. A track
that comes back after its entity disappeared is a new entity, with what is known of the person and without what was measured of the stay.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from shared.privacy import Analysis
from shared.visits import Gender, Visit
from workers.scene.clock import MAX_STEP, Clock, Step
from workers.scene.estimates import Demography, Expressions, quality
from workers.scene.presets import Preset
from workers.scene.stay import Stay

Array = npt.NDArray[Any]

#: Looks at the camera that are this far apart are one (a blink, a missed face), in seconds or in 1.5 frames.
_BLINK, _BLINK_FRAMES = 0.4, 1.5
#: A gaze rests while it stays within this angle of where it began, in radians.
FOCUS_CONE = 0.21


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a face in one frame. ``box`` [4] and ``points`` [5, 2] in pixels as YuNet gives them, ``score`` the probability of a face;
    ``head`` (yaw, pitch, roll) and ``gaze`` (yaw, pitch) in radians; of what was not due this time None: ``age`` in years,
    ``female`` log odds, ``expressions`` [5] logarithms of chances. ``gaze_certainty`` as in `workers.models.directions.DirectionEstimator`."""

    box: Array
    points: Array
    score: float
    head: Array
    gaze: Array
    age: float | None = None
    female: float | None = None
    expressions: Array | None = None
    gaze_certainty: float = 1.0


@dataclass(slots=True)
class Person:
    """Everything that a session remembers of one person. ``entity``: how many entities the track has been; ``shown``: it appeared and has not
    disappeared. ``points`` and ``points_roi``: [x, y] of eyes, nose and corners of the mouth in pixels when a face was last seen, and its
    box then. ``gaze_at`` and ``attended``: when a face, and a look at the camera, were last seen. ``focus``: [since, yaw, pitch] of a gaze
    that rests. ``episodes``: what is going on (an expression, ``focus``), and whether it was told. ``off``: analyses that are switched off,
    of which nothing is remembered."""

    track: int
    stay: Stay
    entity: int = 0
    shown: bool = False
    gone: bool = False
    box: list[float] = field(default_factory=list)
    velocity: list[float] = field(default_factory=lambda: [0.0, 0.0])
    body: list[int] = field(default_factory=list)
    body_score: float = 0.0
    face: list[int] = field(default_factory=list)
    face_score: float = 0.0
    points: list[list[int]] = field(default_factory=list)
    points_roi: list[int] = field(default_factory=list)
    head: list[float] = field(default_factory=list)
    gaze: list[float] = field(default_factory=list)
    gaze_certainty: float = 1.0
    gaze_at: float = -1e9
    attended: float = -1e9
    focus: list[float] = field(default_factory=list)
    episodes: dict[str, bool] = field(default_factory=dict)
    gender_proof: float = 0.0
    demography: Demography = field(default_factory=Demography)
    expressions: Expressions = field(default_factory=Expressions)
    off: list[Analysis] = field(default_factory=list)

    def switch_off(self, off: list[Analysis]) -> None:
        """Forget what was estimated while others were off, these included."""
        self.off = off
        self.forget()

    def forget(self) -> None:
        """Drop the running estimates; who the person is, and what was counted, stays."""
        self.demography, self.gender_proof, self.expressions = Demography(), 0.0, Expressions()
        self.episodes = {name: told for name, told in self.episodes.items() if name == "focus"}

    def id(self, salt: str) -> str:
        """The entity's: chance, but the same for a frame that is computed twice, and another in every session."""
        return str(uuid.uuid5(uuid.UUID(salt), f"{self.track}.{self.entity}"))

    def begin_again(self, now: float) -> None:
        """The person is back after the entity disappeared: a new entity."""
        self.entity += 1
        self.shown = self.gone = False
        self.stay = Stay(now, now)
        self.focus, self.episodes, self.attended = [], {}, -1e9

    def move(self, box: Array, velocity: list[float], step: Step) -> None:
        """Seen in this frame, at ``box`` float [4] (head to hips, smoothed; pixels), with ``velocity`` in pixels a second."""
        self.box, self.velocity = [round(float(value), 1) for value in box], velocity
        self.stay.move(box, step)

    def look(self, look: Look, preset: Preset, step: Step) -> None:
        """A face was seen in this frame."""
        now = step.now
        worth = quality(look.box, float(look.head[0]), preset.min_face)
        self.head = [round(float(value), 4) for value in look.head]
        self.gaze = [round(float(value), 4) for value in look.gaze]
        self.gaze_certainty = look.gaze_certainty
        self._attend(preset, step)
        self._rest(now)
        self.gaze_at = now
        if look.age is not None and look.female is not None:
            age, female = (0.0 if name in self.off else value for name, value in (("age", look.age), ("gender", look.female)))
            self.demography.add(age, female, worth, now)
            if self.demography.gender_confidence >= 0.6:
                self.gender_proof = max(self.gender_proof, round(self.demography.settled, 4))
        if look.expressions is not None:
            self.expressions.add(look.expressions, worth, now)

    def _attend(self, preset: Preset, step: Step) -> None:
        yaw, pitch = self.gaze
        if abs(yaw) > preset.gaze_yaw or not -preset.gaze_down <= pitch <= preset.gaze_pitch:
            return
        apart = step.now - self.attended
        if apart <= max(_BLINK, min(_BLINK_FRAMES * step.counted, MAX_STEP)):
            self.stay.attention = round(self.stay.attention + apart, 4)
        self.attended = step.now

    def _rest(self, now: float) -> None:
        yaw, pitch = self.gaze
        if not self.focus or math.hypot(yaw - self.focus[1], pitch - self.focus[2]) > FOCUS_CONE or now - self.gaze_at > MAX_STEP:
            self.focus = [now, yaw, pitch]
            self.episodes.pop("focus", None)

    @property
    def age(self) -> float | None:
        """The running estimate, in years; None while nothing is known."""
        return self.demography.age if self.demography.weight and "age" not in self.off else None

    @property
    def gender(self) -> Gender | None:
        if not self.demography.weight or "gender" in self.off:
            return None
        return "female" if self.demography.female > 0 else "male"

    def visit(self, salt: str, clock: Clock, *, closed: bool) -> Visit:
        """What the audience analytics keeps."""
        age = self.age
        happiness = self.expressions.mean_happiness
        return Visit(
            id=self.id(salt),
            started=round(clock.wall(self.stay.first), 3),
            view_seconds=round(self.stay.last - self.stay.first, 3),
            stop_seconds=round(self.stay.stop, 3),
            attention_seconds=round(self.stay.attention, 3),
            age=None if age is None else round(age, 1),
            gender=self.gender,
            happiness=None if happiness is None else round(happiness, 4),
            direction=self.stay.direction,
            closed=closed,
        )
