"""The data API as its users see it, over HTTP, in both forms of the system; and a scene's way into it."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from accounts.model import DEMO_EMAIL
from analytics.store import Visits
from database.engine import Database
from shared.settings import read_settings
from shared.visits import Visit
from tests.integration.processes import Process, System
from tests.services.helpers import astronaut, jpeg

#: A frame of a busy machine may take longer than a session lasts elsewhere.
SETTINGS = {"SESSION_SECONDS": "6"}
START = datetime(2023, 11, 14, 22, tzinfo=UTC)
ALL = "passing_by,interested,stop_time,attention_time,category,gender,satisfaction"


def login(system: tuple[str, System]) -> dict[str, str]:
    form, made = system
    username = DEMO_EMAIL if form == "embedded" else "test@example.com"
    return {"username": username, "client_id": made.credentials[0], "access_token": made.credentials[1]}


async def read(session: aiohttp.ClientSession, path: str, **query: str) -> tuple[int, dict[str, Any]]:
    async with session.get(path, params=query) as response:
        return response.status, await response.json(content_type=None)


def some_visits() -> list[Visit]:
    chance = random.Random(1)
    return [
        Visit(
            str(uuid.UUID(int=chance.getrandbits(128))),
            START.timestamp() + chance.randrange(0, 50 * 3600),
            chance.choice([0.5, 2.0, 9.0]),
            chance.choice([0.0, 3.0, 5.0]),
            chance.choice([0.0, 1.5, 4.0]),
            chance.choice([None, 20.0, 66.0]),
            chance.choice([None, "female", "male"]),
            chance.choice([None, 0.25]),
            closed=True,
        )
        for _ in range(230)
    ]


@pytest.fixture
async def data(system: tuple[str, System], gateway: Process) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with a token, of a stream with `some_visits`."""
    settings = read_settings({name: value for name, value in system[1].environment.items() if name.startswith("SENSORIUM_")})
    database = Database(settings.database_url, 10)
    visits = Visits(database, settings.senior_age)
    await visits.prepare()
    await visits.write([(system[1].credentials[0], visit) for visit in some_visits()])
    await database.close()
    async with aiohttp.ClientSession(gateway.url) as session, session.post("/api-token-authstream/", json=login(system)) as response:
        assert response.status == 200
        token = (await response.json())["token"]
    async with aiohttp.ClientSession(gateway.url, headers={"Authorization": f"Bearer {token}"}) as session:
        yield session


@pytest.mark.parametrize("path", ["/api-token-authstream", "/api-token-authstream/"])
async def test_a_token_costs_the_right_credentials(system: tuple[str, System], gateway: Process, path: str) -> None:
    right = login(system)
    async with aiohttp.ClientSession(gateway.url) as session:
        async with session.post(path, json={**right, "username": right["username"].upper()}) as response:
            assert response.status == 200
        answers = []
        for wrong in ({"username": "x@example.com"}, {"client_id": str(uuid.uuid4())}, {"access_token": "no"}, {"client_id": "no"}):
            async with session.post(path, json={**right, **wrong}) as response:
                answers.append((response.status, await response.text()))
        assert {status for status, _ in answers} == {401}
        assert len({text for _, text in answers}) == 1
        for malformed in ({}, [], {**right, "username": 7}):
            async with session.post(path, json=malformed) as response:
                assert response.status == 400


async def test_every_bucket_can_be_recomputed_from_its_visits(data: aiohttp.ClientSession) -> None:
    span = {"from_date": "2023-11-14T22:30:00+0000", "to_date": (START + timedelta(hours=50)).isoformat()}
    visits: list[dict[str, Any]] = []
    status, page = await read(data, "/api/1/visits", **span)
    while True:
        assert status == 200, page
        visits += page["visits"]
        if not page["next_page"]:
            break
        status, page = await read(data, page["next_page"].removeprefix(str(data._base_url).rstrip("/")))
    assert len(visits) == page["total_results"] > 100
    sums = []
    for size in ("by_hour", "by_day", "global"):
        status, answer = await read(data, "/api/1/entities", metrics=ALL, time=size, **span)
        assert (status, answer["time"], answer["next_page"], answer["definition"]) == (200, size, "", 1)
        assert answer["from_date"] == "2023-11-14T22:30:00+00:00"
        for key, found in answer["entities"].items():
            begin = datetime.fromisoformat(key)
            lasts = {"by_hour": timedelta(hours=1), "by_day": timedelta(days=1), "global": timedelta(days=99)}[size]
            mine = [one for one in visits if begin <= datetime.fromisoformat(one["started"]) < begin + lasts]
            interested = [one for one in mine if one["interested"]]
            assert found["passing_by"] == {"value": sum(one["passing_by"] for one in mine)}
            assert found["interested"] == {"value": len(interested)}
            assert found["gender"]["?"] == sum(one["gender"] is None for one in interested)
            stops = [one["stop_seconds"] for one in interested]
            assert found["stop_time"]["value"] == (pytest.approx(sum(stops) / len(stops), abs=1e-3) if stops else None)
        sums.append(sum(found["interested"]["value"] for found in answer["entities"].values()))
    assert sums[0] == sums[1] == sums[2] > 0


async def test_empty_buckets_have_the_documented_zeros(data: aiohttp.ClientSession) -> None:
    # The space after the comma is what the reference's own program sends.
    metrics = ALL.replace(",", ", ")
    _, answer = await read(data, "/api/1/entities", metrics=metrics, from_date="2020-01-01", to_date="2020-01-02", time="by_day")
    assert answer["entities"] == {
        "2020-01-01T00:00:00+00:00": {
            "passing_by": {"value": 0},
            "interested": {"value": 0},
            "stop_time": {"value": None},
            "attention_time": {"value": None},
            "category": {"senior_female": 0, "senior_male": 0, "young_female": 0, "young_male": 0},
            "gender": {"?": 0, "female": 0, "male": 0},
            "satisfaction": {"value": None},
        }
    }


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"metrics": "interested"},
        {"metrics": "nonsense", "from_date": "2020-01-01"},
        {"metrics": "interested", "from_date": "yesterday"},
        {"metrics": "interested", "from_date": "2020-01-02", "to_date": "2020-01-01"},
        {"metrics": "interested", "from_date": "2020-01-01", "time": "by_week"},
        {"metrics": "interested", "from_date": "2020-01-01", "page": "0"},
        {"metrics": "interested", "from_date": "2020-01-01", "page": "99999999999999999999"},
        {"metrics": "interested", "from_date": "2020-01-01", "page": "2"},
        {"metrics": "interested", "from_date": "2020-01-01", "timezone": "Mars"},
        {"metrics": "interested", "from_date": "2020-01-01", "colour": "red"},
    ],
)
async def test_what_cannot_be_asked_is_explained(data: aiohttp.ClientSession, query: dict[str, str]) -> None:
    status, answer = await read(data, "/api/1/entities", **query)
    assert status == 400
    assert answer["error"]


async def test_without_a_token_there_is_nothing(system: tuple[str, System], gateway: Process, client: aiohttp.ClientSession) -> None:
    headers: list[dict[str, str]] = [{}, {"Authorization": "Bearer x.y.z"}, {"Authorization": "Token x"}]
    async with aiohttp.ClientSession(gateway.url) as stranger:
        for path in ("/api/1/entities", "/api/1/visits"):
            for given in headers:
                async with stranger.get(path, headers=given) as response:
                    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    async with client.get("/api/1/entities") as response:  # a stream's own credentials are for the gate
        assert response.status == 401


async def test_a_person_before_the_camera_becomes_a_number(
    system: tuple[str, System], client: aiohttp.ClientSession, data: aiohttp.ClientSession
) -> None:
    """Frames in, then silence: the session expires, its visit is closed, and the data API counts it."""
    form, made = system
    recorder = None
    if form == "distributed":
        recorder = made.start("recorder", port_option="--health-port")
        await recorder.ready()
    begin, picture, session = datetime(2024, 2, 1, 12, tzinfo=UTC), jpeg(astronaut()), uuid.uuid4().hex
    seen: set[str] = set()
    for number in range(45):
        meta = {
            "async": False,
            "image": "attachment://f",
            "timestamp": (begin + timedelta(seconds=number / 10)).isoformat(),
            "camera_position": "facing",
            "store": True,
            "state": {"session_id": session},
        }
        form_data = aiohttp.FormData()
        form_data.add_field("meta", json.dumps(meta), content_type="application/json")
        form_data.add_field("attachment://f", picture, filename="f.jpg", content_type="image/jpeg")
        async with client.post("/services/scene_analysis/1/jobs", data=form_data) as response:
            answer = await response.json()
            assert response.status == 201, answer
        seen |= set(answer["entities"])
        for event in answer["events"]:
            assert event["key"] in answer["entities"][event["entity_id"]]
    assert len(seen) == 1
    span = {"from_date": "2024-02-01", "to_date": "2024-02-02"}
    async with asyncio.timeout(60):
        while True:
            _, page = await read(data, "/api/1/visits", **span)
            if page["visits"] and page["visits"][0]["closed"]:
                break
            await asyncio.sleep(0.2)
    (visit,) = page["visits"]
    assert visit["id"] in seen
    assert visit["view_seconds"] == pytest.approx(4.4)
    assert visit["stop_seconds"] == pytest.approx(4.4)
    _, answer = await read(data, "/api/1/entities", metrics="passing_by", **span)
    assert answer["entities"]["2024-02-01T00:00:00+00:00"] == {"passing_by": {"value": 1}}
    if recorder is not None:
        recorder.terminate()
        assert await recorder.wait() == 0
