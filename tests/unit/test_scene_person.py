"""What is measured of a person, with exact boxes and looks; and events, which never become fewer with a higher sensitivity."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from pydantic import BaseModel, Field

from workers.scene.clock import MAX_STEP, Clock
from workers.scene.events import Sensitivity, appears, disappears, happenings
from workers.scene.following import Following, follow, give_up
from workers.scene.person import Look, Person
from workers.scene.presets import PRESETS
from workers.scene.sightings import Sighting
from workers.scene.stay import Stay

SALT = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
SIZE = (640, 480)
EPOCH = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
KINDS = tuple(Sensitivity.model_fields)


class State(BaseModel):
    clock: Clock = Field(default_factory=Clock)
    person: Person = Field(default_factory=lambda: Person(1, Stay(0.0, 0.0)))


def at(x: float, height: float = 100.0) -> np.ndarray:
    return np.array([x - 50, 100.0, 100.0, height])


def looking(yaw: float = 0.0, happiness: float = 0.0) -> Look:
    moods = np.log(np.array([1 - happiness, happiness, 0, 0, 0]) * 0.99 + 0.002)
    return Look(np.array([0, 0, 80, 80.0]), np.zeros((5, 2)), 0.95, np.array([yaw, 0, 0]), np.array([yaw, 0]), 30.0, 3.0, moods)


def stay(times: list[float], where: list[float], yaws: list[float | None]) -> Person:
    """One person's frames, with the state written down and read again after each."""
    state = State()
    for time, x, yaw in zip(times, where, yaws, strict=True):
        step = state.clock.advance(EPOCH + time)
        state.person.move(at(x), [0.0, 0.0], step)
        if yaw is not None:
            state.person.look(looking(yaw), PRESETS["facing"], step)
        state = State.model_validate_json(state.model_dump_json())
    return state.person


def every(seconds: float, fps: float) -> list[float]:
    return [n / fps for n in range(round(seconds * fps) + 1)]


@pytest.mark.parametrize("fps", [5, 10, 25])
@pytest.mark.parametrize("seconds", [1.2, 3.0, 12.0])
def test_whoever_stands_and_looks_is_counted_for_all_of_it(fps: float, seconds: float) -> None:
    times = every(seconds, fps)
    person = stay(times, [300.0] * len(times), [0.0] * len(times))
    assert person.stay.last - person.stay.first == pytest.approx(seconds)
    assert person.stay.stop == pytest.approx(seconds)
    assert person.stay.attention == pytest.approx(seconds)


def test_whoever_walks_past_neither_stands_nor_looks() -> None:
    times = every(4, 10)
    person = stay(times, [100.0 * time for time in times], [1.0] * len(times))
    assert (person.stay.stop, person.stay.attention) == (0, 0)
    assert person.stay.direction == "right"


@pytest.mark.parametrize("fps", [5, 10, 25])
@pytest.mark.parametrize("speed", [60, 100, 200])
def test_walking_standing_and_walking_on(fps: float, speed: float) -> None:
    """Three seconds of walking, four of standing, three of walking; boxes, 100 pixels high, shake by 1 % of their size."""
    chance = random.Random(4)
    times = every(10, fps)
    where = [speed * (min(time, 3) + max(time - 7, 0)) + chance.gauss(0, 1) for time in times]
    assert stay(times, where, [None] * len(times)).stay.stop == pytest.approx(4, abs=0.35)


def test_a_short_stop_takes_nothing_from_a_long_one() -> None:
    times = every(14, 10)
    where = [100 * (min(time, 2) + min(max(time - 6, 0), 2) + max(time - 9.1, 0)) for time in times]
    assert stay(times, where, [None] * len(times)).stay.stop == pytest.approx(5.1, abs=0.5)


def test_turning_away_ends_the_look_and_a_blink_does_not() -> None:
    times = every(3, 10)
    blinking: list[float | None] = [None if n in (7, 8, 19) else 0.0 for n in range(len(times))]
    assert stay(times, [300.0] * len(times), blinking).stay.attention == pytest.approx(3)
    away = [0.0 if time < 1.05 else 0.9 for time in times]
    assert stay(times, [300.0] * len(times), list(away)).stay.attention == pytest.approx(1.0)


def test_the_clock_is_the_clients_whatever_it_does() -> None:
    clock = Clock()
    steps = [clock.advance(EPOCH + time) for time in (0.0, 0.1, 0.1, -50.0, -49.9, 3600.0)]
    assert [round(step.now, 3) for step in steps[:5]] == [0, 0.1, 0.1, 0.1, 0.2]
    assert [round(step.counted, 3) for step in steps] == [0, 0.1, 0, 0, 0.1, MAX_STEP]
    assert clock.wall(clock.now) == pytest.approx(EPOCH + 3600)


def test_a_visit_says_what_was_measured_and_nothing_else() -> None:
    times = every(3.5, 10)
    person = stay(times, [300.0] * len(times), [0.0] * len(times))
    clock = Clock(3.5, EPOCH + 3.5, EPOCH)
    visit = person.visit(SALT, clock, closed=True)
    assert (visit.started, visit.view_seconds, visit.gender, visit.closed) == (EPOCH, 3.5, "female", True)
    assert visit.age == pytest.approx(30)
    assert visit.id == person.id(SALT) != person.id("00000000-0000-0000-0000-000000000000")


def test_age_is_looked_at_ever_more_seldom_and_settles() -> None:
    person, due = Person(1, Stay(0.0, 0.0)), []
    clock = Clock()
    for n in range(600):
        step = clock.advance(EPOCH + n / 10)
        if step.now >= person.demography.due:
            due.append(step.now)
            person.look(looking(), PRESETS["facing"], step)
    assert len(due) < 40
    assert due[:4] == pytest.approx([0, 0.1, 0.3, 0.6])
    assert person.demography.settled > 0.99


def told(seed: int, **sensitivity: float) -> Counter[str]:
    """The events of a random life before a camera: coming, going, hiding, looking about, smiling."""
    chance, wanted = random.Random(seed), Sensitivity(**sensitivity)
    clock, following, people = Clock(), Following(), dict[int, Person]()
    events: Counter[str] = Counter()
    x, speed, yaw, mood, hidden = chance.uniform(50, 590), 0.0, 0.0, 0.0, 0
    for n in range(300):
        step = clock.advance(EPOCH + n * 0.1)
        if chance.random() < 0.05:
            speed, yaw, mood = chance.choice([0, 0, 6, -6]), chance.choice([0, 0, 0.5, 1.2]), chance.choice([0, 0.3, 0.6, 0.9])
            hidden = chance.choice([0, 0, 3, 9, 20])
        x, hidden = min(max(x + speed, 30), 610), hidden - 1
        seen = [] if hidden > 0 else [Sighting(at(x), at(x), at(x), 0.9, 0)]
        give_up(following, step.now)
        tracks = follow(following, seen, {}, step.now, step.counted)
        for person in list(people.values()):
            over = person.track not in {track.id for track in following.tracks}
            gone = disappears(person, step.now, SIZE, wanted, over=over)
            events.update([gone.type] if gone else [])
            if over:
                del people[person.track]
        for track in tracks:
            person = people.setdefault(track.id, Person(track.id, Stay(step.now, step.now)))
            if person.gone:
                person.begin_again(step.now)
            person.move(np.array(track.box), track.velocity, step)
            person.body = [int(value) for value in track.box]
            person.look(looking(yaw, mood), PRESETS["facing"], step)
            new = appears(person, track, wanted)
            events.update([*([new.type] if new else []), *(one.type for one in happenings(person, step.now, wanted))])
    return events


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_sensitivity_never_gives_fewer_events_of_its_kind(kind: str) -> None:
    some = 0
    for seed in range(12):
        counts = [told(seed, **{kind: value})[kind] for value in (0.0, 0.25, 0.5, 0.75, 1.0)]
        assert counts == sorted(counts), seed
        some += counts[-1]
    assert some


def test_everybody_who_appears_disappears_once_at_most() -> None:
    for seed in range(12):
        events = told(seed)
        assert 0 <= events["appearance"] - events["disappearance"] <= 1


@pytest.mark.parametrize("value", [-0.1, 1.1, "much"])
def test_a_sensitivity_is_between_0_and_1(value: object) -> None:
    with pytest.raises(ValueError, match="appearance"):
        Sensitivity.model_validate({"appearance": value})
