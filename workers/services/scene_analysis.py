"""People before a camera, followed over its frames: who is there, what happens, and what is worth counting."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field

from shared.privacy import Analysis
from shared.visits import Visit
from workers.contract import Image, Input, Item, Models, Output, Service
from workers.lib import assignment
from workers.lib.appearance import codes
from workers.lib.faces import Faces, Sight
from workers.models import person_reid
from workers.people import drawn_person
from workers.scene.answer import Entity, Event, entity, remember_boxes
from workers.scene.clock import Clock, Step
from workers.scene.events import Sensitivity, Told, appears, disappears, happenings
from workers.scene.following import Following, Track, follow, forget_looks, give_up, look_by, wanted_looks
from workers.scene.looking import MODELS, Networks, Wanted
from workers.scene.person import Look, Person
from workers.scene.presets import PRESETS, Position
from workers.scene.sightings import Sighting, sight
from workers.scene.stay import Stay

#: Timestamps outside are mistakes: nobody had such a camera before, and a clock that is a day ahead is set wrong.
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_AHEAD_SECONDS = 86_400.0


def _timestamp(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, str) or value.isdecimal():
        raise ValueError("must be a date and time as in ISO 8601: 2016-10-26T16:21:01.136287+00:00")
    try:
        stamp = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a date and time as in ISO 8601: 2016-10-26T16:21:01.136287+00:00") from None
    stamp = stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp
    try:
        seconds = stamp.timestamp()
    except (OverflowError, ValueError):
        raise ValueError("must be a time between the year 2000 and tomorrow") from None
    if not _EARLIEST.timestamp() <= seconds <= time.time() + _AHEAD_SECONDS:
        raise ValueError("must be a time between the year 2000 and tomorrow")
    return stamp


class SceneAnalysisInput(Input):
    image: Image = Field(description="A frame, JPEG or PNG; 640 x 480 is a good size.")
    timestamp: Annotated[datetime, BeforeValidator(_timestamp)] | None = Field(
        default=None,
        description="When the frame was taken, ISO 8601, UTC unless it says otherwise. The clock of everything that is measured.",
    )
    camera_position: Position = Field(default="facing", description="At human height (facing) or under the ceiling (ceiling).")
    sensitivity: Sensitivity = Field(default=Sensitivity(), description="How easily each event comes, 0 to 1; 0.5 for those not named.")
    store: bool = Field(default=False, description="Keep what is counted (never pictures) for the dashboard and the data API.")


class SceneAnalysisOutput(Output):
    timestamp: str = Field(description="That of the frame, ISO 8601.")
    input_size: tuple[int, int] = Field(description="[width, height] of the picture in pixels.")
    events: list[Event] = Field(description="What happened with this frame.")
    entities: dict[str, Entity] = Field(description="Everybody in view, by entity id, with those who disappear with this frame.")


class SceneAnalysisState(BaseModel):
    """What a session remembers: numbers only. ``salt`` is chance, and gives this session's entity ids and codes of appearance.

    ``off``: the analyses that were switched off for the last frame; nothing of them is here. ``measured_by``: which networks looked at faces;
    "" in states of versions that did not say.
    """

    salt: str = Field(default_factory=lambda: str(uuid.uuid4()))
    clock: Clock = Field(default_factory=Clock)
    following: Following = Field(default_factory=Following)
    people: dict[int, Person] = Field(default_factory=dict)
    store: bool = False
    off: list[Analysis] = Field(default_factory=list)
    measured_by: str = ""

    def measure_by(self, networks: str) -> None:
        """From now on these networks look at faces: forget the running estimates that others made. People and their visits go on."""
        if self.measured_by not in ("", networks):
            for person in self.people.values():
                person.forget()
        self.measured_by = networks

    def switch_off(self, off: list[Analysis]) -> None:
        """From now on these are off: forget what they brought, and what was gathered while others were."""
        if self.off == off:
            return
        self.off = off
        for person in self.people.values():
            person.switch_off(off)
        if "identification" in off:
            forget_looks(self.following)


@dataclass(frozen=True, slots=True)
class _Telling:
    """An event, with its entity as it was then."""

    event: Event
    entity: Entity


@dataclass(slots=True)
class _Frame:
    """An item while it is worked on."""

    item: Item[SceneAnalysisInput]
    state: SceneAnalysisState
    step: Step
    sightings: list[Sighting]
    faces: Faces
    looks: dict[int, str]
    lost: list[Track]
    seen: list[Person]
    events: list[Event]
    leaving: list[_Telling]
    visits: list[Visit]

    @property
    def pixels(self) -> np.ndarray:
        return self.item.input.image.pixels


class SceneAnalysis(Service[SceneAnalysisInput, SceneAnalysisOutput]):
    """Who is in front of the camera, what are they doing, do they stop, look, smile?

    With a session people are followed over its frames, by where they are and what they look like, and told of in events: appearance,
    disappearance, age_estimated, gender_estimated, focus_locked, emotion_detected, direction_estimated. Gaze and head are measured in each
    frame with a face, expressions four times a second, age and gender ever more seldom while the estimate settles. With `store` each
    person's visit is kept for the audience numbers when the person leaves, and each minute before that. Without a session each
    picture stands alone, and there are no events.
    """

    name = "scene_analysis"
    input_type = SceneAnalysisInput
    output_type = SceneAnalysisOutput
    state_type: ClassVar[type[BaseModel]] = SceneAnalysisState
    models = MODELS
    max_batch = 16

    _networks: Networks

    def load(self, models: Models) -> None:
        self._networks = Networks(models)
        assignment.solver()

    def prepare(self, inputs: Sequence[SceneAnalysisInput]) -> None:
        self._networks.faces([given.image for given in inputs])

    def process(self, batch: Sequence[Item[SceneAnalysisInput]]) -> Sequence[SceneAnalysisOutput]:
        images = [item.input.image for item in batch]
        faces = self._networks.faces(images)
        found = self._networks.people(images, faces, [PRESETS[item.input.camera_position].lenience for item in batch])
        sought = self._networks.heads_sought
        frames = [_frame(item, sight(who, seen, heads_sought=sought), seen) for item, who, seen in zip(batch, found, faces, strict=True)]
        self._recognise(frames)
        for frame in frames:
            frame.state.measure_by(self._networks.measured_by)
            _follow(frame)
        self._look(frames)
        return [_answer(frame) for frame in frames]

    def close(self, state: SceneAnalysisState) -> Sequence[Visit]:
        if not state.store:
            return ()
        return [person.visit(state.salt, state.clock, closed=True) for person in state.people.values() if person.shown and not person.gone]

    def _recognise(self, frames: list[_Frame]) -> None:
        """Take the looks that are wanted, of all frames together."""
        for frame in frames:
            look_by(frame.state.following, "" if "identification" in frame.state.off else self._networks.looks_by)
        looking = [frame for frame in frames if frame.state.following.looks_by]
        wanted = [(frame, index) for frame in looking for index in wanted_looks(frame.state.following, frame.sightings, frame.step.now)]
        crops = [person_reid.crop(frame.pixels, frame.sightings[index].whole) for frame, index in wanted]
        for (frame, index), embedding in zip(wanted, self._networks.embeddings(crops), strict=True):
            frame.looks[index] = codes(embedding[None], frame.state.salt)[0]

    def _look(self, frames: list[_Frame]) -> None:
        """Look at the faces of everybody who was seen, of all frames together."""
        wanted = [
            (frame, person, sighting)
            for frame in frames
            for person, sighting in zip(frame.seen, frame.sightings, strict=True)
            if sighting.face is not None
        ]
        looks = self._networks.look([_wanted(*one) for one in wanted])
        known = {(id(frame), id(person)): look for (frame, person, _), look in zip(wanted, looks, strict=True)}
        for frame in frames:
            for person, sighting in zip(frame.seen, frame.sightings, strict=True):
                _see(frame, person, sighting, known.get((id(frame), id(person))))

    @classmethod
    def example(cls) -> SceneAnalysisInput:
        """Somebody drawn with a brush: enough for the networks to find a person and a face."""
        return SceneAnalysisInput(image=Image(drawn_person()))


def _frame(item: Item[SceneAnalysisInput], sightings: list[Sighting], faces: Faces) -> _Frame:
    state = item.state if item.state is not None else SceneAnalysisState()
    state.store = item.input.store
    state.switch_off(list(item.off))
    stamp = item.input.timestamp
    step = state.clock.advance(item.accepted if stamp is None else stamp.timestamp())
    least = PRESETS[item.input.camera_position].min_head * item.input.image.size[1]
    near = [one for one in sightings if one.head is None or one.head[3] >= least]
    lost = give_up(state.following, step.now)
    return _Frame(item, state, step, near, faces, {}, lost, [], [], [], [])


def _follow(frame: _Frame) -> None:
    """Who is who; and who has left, before those who are seen have stayed."""
    state, step, size = frame.state, frame.step, frame.item.input.image.size
    tracks = follow(state.following, frame.sightings, frame.looks, step.now, step.counted)
    alive, lost = ({track.id for track in group} for group in (state.following.tracks, frame.lost))
    for person in list(state.people.values()):
        over = person.track not in alive
        told = disappears(person, step.now, size, frame.item.input.sensitivity, over=over)
        if told is not None:
            frame.leaving.append(_Telling(_event(frame, person, told), entity(person, step.now, size, seen=False)))
            if state.store and (person.track in lost or not over):  # else it was somebody who is still there
                frame.visits.append(person.visit(state.salt, state.clock, closed=True))
        if person.track not in alive:
            del state.people[person.track]
    frame.seen = [_person(frame, track, sighting) for track, sighting in zip(tracks, frame.sightings, strict=True)]


def _person(frame: _Frame, track: Track, sighting: Sighting) -> Person:
    now = frame.step.now
    person = frame.state.people.get(track.id)
    if person is None:
        person = frame.state.people[track.id] = Person(track.id, Stay(now, now), off=frame.state.off)
    elif person.gone:
        person.begin_again(now)
    person.body_score = round(sighting.score, 4)
    return person


def _wanted(frame: _Frame, person: Person, sighting: Sighting) -> Wanted:
    index, now = sighting.face, frame.step.now
    assert index is not None  # noqa: S101 - only faces that were seen are looked at
    return Wanted(
        Sight.of(frame.pixels, frame.faces).part(index, index + 1),
        float(frame.faces.chances[index]),
        who=now >= person.demography.due and not {"age", "gender"} <= set(person.off),
        expression=person.expressions.is_due(now) and "expression" not in person.off,
    )


def _see(frame: _Frame, person: Person, sighting: Sighting, look: Look | None) -> None:
    """Take what this frame shows of a person, and tell what happened."""
    given, step = frame.item.input, frame.step
    track = next(track for track in frame.state.following.tracks if track.id == person.track)
    person.move(np.array(track.box), track.velocity, step)
    if look is not None:
        person.look(look, PRESETS[given.camera_position], step)
    remember_boxes(person, sighting, look, given.image.size)
    told = appears(person, track, given.sensitivity)
    happened = [told] if told is not None else []
    happened += happenings(person, step.now, given.sensitivity)
    frame.events += [_event(frame, person, one) for one in happened]
    if frame.state.store and person.shown and person.stay.provisional_is_due(step.now):
        frame.visits.append(person.visit(frame.state.salt, frame.state.clock, closed=False))


def _event(frame: _Frame, person: Person, told: Told) -> Event:
    return Event(entity_id=person.id(frame.state.salt), type=told.type, key=told.key, confidence=told.confidence)


def _answer(frame: _Frame) -> SceneAnalysisOutput:
    given, now = frame.item.input, frame.step.now
    alone = frame.item.state is None
    seen = {id(person) for person in frame.seen}
    entities = {left.event.entity_id: left.entity for left in frame.leaving}
    for person in frame.state.people.values():
        if alone or (person.shown and not person.gone):
            entities[person.id(frame.state.salt)] = entity(person, now, given.image.size, seen=id(person) in seen)
    stamp = given.timestamp or datetime.fromtimestamp(frame.item.accepted, UTC)
    events = [] if alone else [left.event for left in frame.leaving] + frame.events
    output = SceneAnalysisOutput(timestamp=stamp.isoformat(), input_size=given.image.size, events=events, entities=entities)
    return output.with_visits(() if alone else frame.visits)
