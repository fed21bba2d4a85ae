"""Scene analysis through its networks, on rendered scenes whose truth is known: who crosses, hides, leaves, stands and looks."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from accounts.tables import AccountRow, StreamRow
from analytics.queries import Audience
from analytics.store import Visits
from analytics.totals import Totals
from database.engine import Database
from sensorium.migrate import migrate
from shared.visits import Visit
from tests.services.helpers import given, jpeg, loaded
from tests.services.scenes import FPS, Actor, render, sprite
from workers.contract import Item, Service
from workers.services.scene_analysis import SceneAnalysis, SceneAnalysisState

pytestmark = pytest.mark.timeout(300)

START = datetime(2024, 3, 1, 9, tzinfo=UTC)
SALT = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
NEAR = 45.0  # pixels between a head's true place and the one that is told
labelled = pytest.mark.skipif(not os.environ.get("SENSORIUM_TESTDATA"), reason="SENSORIUM_TESTDATA does not point to labelled data")


@cache
def service() -> Service[Any, Any]:
    return loaded(SceneAnalysis)


@dataclass
class Seen:
    """What was told of a scene. ``ids``: for each frame and actor, who is where the actor's head is."""

    ids: list[list[str | None]] = field(default_factory=list)
    events: list[tuple[float, str, str]] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)

    def times(self, kind: str) -> list[float]:
        return [time for time, name, _ in self.events if name == kind]

    def of(self, actor: int) -> list[str]:
        """Whom the actor was taken for, without repetitions, while the heads of all were apart."""
        found = [row[actor] for row in self.ids]
        return list(dict.fromkeys(one for one in found if one is not None))


def play(actors: Sequence[Actor], seconds: float, pillar: tuple[int, int] | None = None, *, by: Service[Any, Any] | None = None) -> Seen:
    """The scene through the service, or another one, its session kept as between two workers, and closed at the end."""
    watching = by or service()
    stored, seen = SceneAnalysisState(salt=SALT).model_dump_json(), Seen()
    for number in range(round(seconds * FPS) + 1):
        time = number / FPS
        state = SceneAnalysisState.model_validate_json(stored)
        picture = jpeg(render(actors, time, pillar), 90)
        value = given(SceneAnalysis, {"image": picture}, timestamp=(START + timedelta(seconds=time)).isoformat(), store=True)
        (output,) = watching.process([Item(value, state)])
        stored = state.model_dump_json()
        seen.visits += output.visits
        seen.events += [(time, event.type, event.entity_id) for event in output.events]
        seen.ids.append(_who([actor.path(time) for actor in actors], output.entities))
    seen.visits += watching.close(SceneAnalysisState.model_validate_json(stored))
    return seen


def _who(places: Sequence[tuple[float, float] | None], entities: dict[str, Any]) -> list[str | None]:
    heads = {
        name: (entity.face_roi[0] + entity.face_roi[2] / 2, entity.face_roi[1] + entity.face_roi[3] / 2)
        for name, entity in entities.items()
        if entity.full_body_roi_confidence
    }
    known = [place for place in places if place is not None]
    apart = all(math.dist(one, other) > 2 * NEAR for one in known for other in known if one is not other)

    def at(place: tuple[float, float] | None) -> str | None:
        near = [name for name, head in heads.items() if place is not None and math.dist(head, place) < NEAR]
        return near[0] if len(near) == 1 and apart else None

    return [at(place) for place in places]


async def counted(visits: Sequence[Visit], folder: Path) -> Totals:
    """What the definitions make of the visits, through the database."""
    url, stream, account = f"sqlite+aiosqlite:///{folder}/visits.db", str(uuid.uuid4()), str(uuid.uuid4())
    await migrate(url)
    database = Database(url, 10)
    async with database.writing() as session:
        session.add(AccountRow(id=account, email="a@b", email_key="a@b", password_hash="", plan="enterprise", operator=False))
        await session.flush()
        session.add(StreamRow(client_id=stream, account_id=account, name="door", token_digest=b"", token_sealed=b""))
    written = Visits(database, 50.0)
    await written.prepare()
    await written.write([(stream, visit) for visit in visits])
    (total,) = await Audience(database).totals(stream, [0, round(START.timestamp() * 1000) + 86_400_000])
    await database.close()
    return total


@pytest.mark.parametrize(
    ("one", "other", "speed"),
    [
        ("astronaut", "other", 160),
        pytest.param("yellow", "striped", 90, marks=labelled),
        pytest.param("blue", "astronaut", 160, marks=labelled),
    ],
)
def test_two_who_cross_stay_who_they_are(one: str, other: str, speed: float) -> None:
    actors = [
        Actor(sprite(one), lambda time: (120 + speed * time, 150)),
        Actor(sprite(other), lambda time: (520 - speed * time, 170)),
    ]
    seen = play(actors, 400 / speed)
    assert [len(seen.of(actor)) for actor in (0, 1)] == [1, 1]
    assert seen.of(0) != seen.of(1)
    assert sorted(visit.direction for visit in seen.visits) == ["left", "right"]


@pytest.mark.parametrize(("name", "width"), [("astronaut", 150), pytest.param("yellow", 190, marks=labelled)])
def test_whoever_walks_behind_a_pillar_is_the_same_afterwards(name: str, width: int) -> None:
    seen = play([Actor(sprite(name), lambda time: (60 + 150 * time, 150))], 3.4, (320 - width // 2, 320 + width // 2))
    assert len(seen.of(0)) == 1
    assert (len(seen.times("appearance")), seen.times("disappearance")) == (1, [])
    (visit,) = seen.visits
    assert visit.view_seconds == pytest.approx(3.4)


@pytest.mark.parametrize("behind", ["other", pytest.param("striped", marks=labelled)])
def test_whoever_is_hidden_by_a_passer_by_is_the_same_afterwards(behind: str) -> None:
    actors = [Actor(sprite(behind), lambda _: (320, 150)), Actor(sprite("astronaut"), lambda time: (100 + 120 * time, 175))]
    seen = play(actors, 3.6)
    assert [len(seen.of(actor)) for actor in (0, 1)] == [1, 1]
    assert len(seen.visits) == 2


def test_whoever_left_takes_nobodys_place() -> None:
    """One walks out while another stands; for some seconds the first might be anywhere."""
    actors = [Actor(sprite("other"), lambda _: (240, 170)), Actor(sprite("astronaut"), lambda time: (430 + 180 * time, 150))]
    seen = play(actors, 4.5)
    assert len(seen.of(0)) == 1
    assert len(seen.times("appearance")) == 2
    assert len(seen.visits) == 2


def test_coming_and_leaving_are_told_soon() -> None:
    """The middle of the head is inside the picture from 1.0 to 4.2 s."""
    seen = play([Actor(sprite("astronaut"), lambda time: (200 * (time - 1), 150))], 6)
    (came,), (left,) = seen.times("appearance"), seen.times("disappearance")
    assert 0.5 < came < 1.4
    assert 4.2 <= left < 5.2
    (visit,) = seen.visits
    assert (visit.closed, visit.direction) == (True, "right")
    assert visit.view_seconds == pytest.approx(3.2, abs=0.6)
    assert visit.stop_seconds < 1


@pytest.mark.models("yolox-body-head-hand", "yunet")
@pytest.mark.parametrize(
    ("view", "looks", "passing", "interested"),
    [(0.9, 0.9, 0, 0), (1.1, 1.1, 1, 0), (2.9, 2.9, 1, 0), (3.1, 3.1, 1, 1), (3.1, 1.0, 1, 0), (3.1, 1.1, 1, 1)],
)
async def test_the_thresholds_of_those_who_stand(view: float, looks: float, passing: int, interested: int, tmp_path: Path) -> None:
    """Somebody is there for ``view`` seconds, faces the camera for the first ``looks`` of them and then shows the back of the head."""
    actor = Actor(sprite("astronaut"), lambda time: (320, 160) if time <= view + 1e-6 else None, lambda time: time > looks + 1e-6)
    seen = play([actor], view)
    (visit,) = seen.visits
    assert visit.view_seconds == pytest.approx(view)
    assert visit.attention_seconds == pytest.approx(looks)
    assert visit.stop_seconds == pytest.approx(view if view > 1 else 0, abs=0.11)  # turning moves the box of the head
    total = await counted(seen.visits, tmp_path)
    assert (total.passing_by, total.interested) == (passing, interested)


@pytest.mark.parametrize(
    ("name", "stands", "interested"), [("astronaut", 2.4, 0), ("astronaut", 3.6, 1), pytest.param("striped", 3.6, 1, marks=labelled)]
)
async def test_walking_in_standing_and_walking_on(name: str, stands: float, interested: int, tmp_path: Path) -> None:
    def path(time: float) -> tuple[float, float]:
        return -60 + 200 * (min(time, 1.9) + max(0.0, time - 1.9 - stands)), 150

    seen = play([Actor(sprite(name), path)], 5.4 + stands)
    (visit,) = seen.visits
    assert visit.stop_seconds == pytest.approx(stands, abs=0.5)
    assert visit.attention_seconds > 1
    total = await counted(seen.visits, tmp_path)
    assert (total.passing_by, total.interested) == (1, interested)
