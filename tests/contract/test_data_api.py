"""The data API over HTTP and a database: pages, zones, the trade's numbers, and tokens that end with what they were made for."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import jsonschema
import pytest
from sqlalchemy import update
from yarl import URL

from accounts.credentials import Proof
from accounts.model import Plan, StreamSecret
from accounts.store import Accounts, open_accounts
from accounts.tables import StreamRow
from analytics.metrics import METRICS
from analytics.store import Visits
from database.engine import Database
from gateway.app import build_app, open_gate
from gateway.openapi.document import openapi_document
from gateway.state import DataFace
from sensorium.migrate import migrate
from sensorium.processes.adapters import open_broker, open_stores
from sensorium.processes.gateway import job_ids, listen, open_data_face
from shared.settings import Settings, read_settings
from shared.visits import Visit

ANN, PASSWORD, SECRET = "Ann@example.com", "correct horse", "k" * 32
START = datetime(2024, 3, 30, 12, tzinfo=UTC)
Query = dict[str, str]


@dataclass
class House:
    """A gateway over one database, with an account of two streams, the first of which has visits."""

    url: str
    settings: Settings
    accounts: Accounts
    data: DataFace
    streams: list[StreamSecret]
    session: aiohttp.ClientSession

    async def post(self, username: str, client_id: str, access_token: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        login = {"username": username, "client_id": client_id, "access_token": access_token}
        async with self.session.post(f"{self.url}/api-token-authstream/", json=login) as response:
            return response.status, await response.json(content_type=None), dict(response.headers)

    async def token(self, stream: int = 0) -> str:
        status, answer, _ = await self.post(ANN, self.streams[stream].client_id, self.streams[stream].access_token)
        assert status == 200, answer
        return str(answer["token"])

    async def get(self, address: str, token: str | None = None) -> tuple[int, dict[str, Any], dict[str, str]]:
        """``address``: encoded already, a path or, as `next_page` is, complete."""
        headers = {"Authorization": f"Bearer {token or await self.token()}"}
        url = URL(address if address.startswith("http") else self.url + address, encoded=True)
        async with self.session.get(url, headers=headers) as response:
            return response.status, await response.json(content_type=None), dict(response.headers)

    async def pages(self, address: str, key: str) -> list[dict[str, Any]]:
        """Every page, along ``next_page``."""
        found: list[dict[str, Any]] = []
        while address:
            status, page, _ = await self.get(address)
            assert status == 200, page
            assert key in page
            found.append(page)
            address = page["next_page"]
        return found


def address(path: str, **query: str) -> str:
    return f"/api/1/{path}?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())


def some_visits() -> list[Visit]:
    """Over ten days with a change of clocks in them; times on the borders of the definitions too."""
    chance = random.Random(7)
    return [
        Visit(
            str(uuid.UUID(int=chance.getrandbits(128))),
            round(START.timestamp() + chance.uniform(0, 240 * 3600), 3),
            chance.choice([0.999, 1.0, 2.5, 9.123]),
            chance.choice([0.0, 2.999, 3.0, 5.77]),
            chance.choice([0.0, 1.0, 1.001, 4.3]),
            chance.choice([None, 20.0, 49.9, 50.0, 66.0]),
            chance.choice([None, "female", "male"]),
            chance.choice([None, 0.0, 0.25, 0.9]),
            closed=chance.random() < 0.9,
        )
        for _ in range(350)
    ]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    settings = read_settings({}, database=f"sqlite+aiosqlite:///{tmp_path}/it.db", secret_key=SECRET, port=0)
    await migrate(settings.database_url)
    async with AsyncExitStack() as stack:
        accounts = await stack.enter_async_context(open_accounts(settings))
        await accounts.create_account(ANN, PASSWORD, Plan.ENTERPRISE)
        streams = [await accounts.streams.add(ANN, name) for name in ("Door", "Window")]
        data = await open_data_face(settings, accounts, stack)
        url = await serve(settings, accounts, data, stack)
        database = Database(settings.database_url, 10)
        stack.push_async_callback(database.close)
        visits = Visits(database, settings.senior_age)
        await visits.prepare()
        await visits.write([(streams[0].client_id, visit) for visit in some_visits()])
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield House(url, settings, accounts, data, streams, session)


async def serve(settings: Settings, accounts: Accounts, data: DataFace, stack: AsyncExitStack) -> str:
    """The address of a gateway without services."""
    ids = job_ids(SECRET.encode())
    broker = await stack.enter_async_context(open_broker(settings))
    stores = await stack.enter_async_context(open_stores(settings, ids.shard))
    gate = await stack.enter_async_context(open_gate(settings, {}, broker, stores, accounts, ids))
    return f"http://127.0.0.1:{await listen(build_app(gate, {}, data), settings, stack)}"


# Numbers


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def recomputed(visits: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every metric of these visits as docs/metrics.md defines it, from nothing but what the API says of them."""
    passing = [one for one in visits if one["view_seconds"] >= 1]
    watchers = [one for one in passing if one["attention_seconds"] > 1]
    interested = [one for one in visits if one["stop_seconds"] >= 3 and one["attention_seconds"] > 1]
    dwell, attention = mean([one["view_seconds"] for one in passing]), mean([one["attention_seconds"] for one in watchers])
    kinds = [
        ("senior" if one["age"] >= 50 else "young") + "_" + one["gender"] for one in interested if None not in (one["age"], one["gender"])
    ]
    genders = [one["gender"] or "?" for one in interested]
    return {
        "passing_by": {"value": len(passing)},
        "interested": {"value": len(interested)},
        "stop_time": {"value": mean([one["stop_seconds"] for one in interested])},
        "attention_time": {"value": mean([one["attention_seconds"] for one in interested])},
        "category": {name: kinds.count(name) for name in ("senior_female", "senior_male", "young_female", "young_male")},
        "gender": {name: genders.count(name) for name in ("?", "female", "male")},
        "satisfaction": {"value": mean([one["happiness"] for one in interested if one["happiness"] is not None])},
        "ots": {"value": len(passing)},
        "watchers": {"value": len(watchers)},
        "dwell": {"value": dwell},
        "attention": {"value": attention},
        "conversion": {"value": len(watchers) / len(passing) if passing else None},
        "attraction": {"value": (attention or 0) / dwell if dwell else None},
    }


@pytest.mark.parametrize("size", ["by_hour", "by_day", "global"])
@pytest.mark.parametrize("where", ["UTC", "Europe/Paris", "Asia/Kolkata"])
async def test_every_number_can_be_recomputed(house: House, size: str, where: str) -> None:
    span = {"from_date": "2024-03-30T13:47:11+0100", "to_date": "2024-04-08T20:00:00Z"}
    visits = [visit for page in await house.pages(address("visits", **span), "visits") for visit in page["visits"]]
    assert len(visits) > 300
    assert visits == sorted(visits, key=lambda visit: (visit["started"], visit["id"]))
    assert all(one["passing_by"] == (one["view_seconds"] >= 1) for one in visits)
    asked = address("entities", metrics=",".join(METRICS), time=size, timezone=where, **span)
    pages = await house.pages(asked, "entities")
    found = {key: metrics for page in pages for key, metrics in page["entities"].items()}
    assert len(found) == pages[0]["total_results"]
    begins = [datetime.fromisoformat(key) for key in found]
    ends = [*begins[1:], datetime.fromisoformat(span["to_date"])]
    for metrics, begin, end in zip(found.values(), begins, ends, strict=True):
        mine = recomputed([visit for visit in visits if begin <= datetime.fromisoformat(visit["started"]) < end])
        assert set(metrics) == set(mine)
        for name, wanted in mine.items():
            assert metrics[name] == pytest.approx(wanted, abs=1e-3), (begin, name)


async def test_pages_lead_to_one_another(house: House) -> None:
    span = {"from_date": "2024-03-30T05:45:00+0200", "to_date": "2024-04-09T05:45:00+0200"}
    pages = await house.pages(address("entities", metrics="interested, ots", time="by_hour", **span), "entities")
    assert [page["page"] for page in pages] == [1, 2, 3]
    assert {(page["total_results"], page["nb_of_pages"]) for page in pages} == {(241, 3)}
    assert [len(page["entities"]) for page in pages] == [100, 100, 41]
    assert {(page["from_date"], page["to_date"]) for page in pages} == {("2024-03-30T05:45:00+02:00", "2024-04-09T05:45:00+02:00")}
    assert pages[0]["next_page"].startswith(f"{house.url}/api/1/entities?")
    assert "page=2" in pages[0]["next_page"]
    keys = [key for page in pages for key in page["entities"]]
    assert keys == [(datetime(2024, 3, 30, 3, tzinfo=UTC) + timedelta(hours=n)).isoformat() for n in range(241)]


async def test_a_plus_that_was_not_encoded_is_a_plus(house: House) -> None:
    status, answer, _ = await house.get("/api/1/entities?metrics=ots&from_date=2024-03-30T05:45:00+0200&to_date=2024-03-30T06:00:00+02:00")
    assert (status, answer["from_date"], answer["to_date"]) == (200, "2024-03-30T05:45:00+02:00", "2024-03-30T06:00:00+02:00")


async def test_the_end_is_now_and_stays_so_on_the_next_page(house: House) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    begin = (before - timedelta(days=6)).isoformat()
    first, second = await house.pages(address("entities", metrics="ots", time="by_hour", from_date=begin), "entities")
    assert before <= datetime.fromisoformat(first["to_date"]) <= datetime.now(UTC)
    assert second["to_date"] == first["to_date"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("metrics=ots&metrics=ots&from_date=2024-01-01", "metrics"),
        ("metrics=ots&from_date=2024-01-01&from_date=2024-01-02", "from_date"),
        ("metrics=,&from_date=2024-01-01", "metrics"),
        ("metrics=ots%00&from_date=2024-01-01", "metrics"),
        ("metrics=ots&from_date=%ff", "from_date"),
        ("metrics=ots&from_date=", "from_date"),
        ("metrics=ots&from_date=1969-01-01", "from_date"),
        ("metrics=ots&from_date=2024-01-01&to_date=2300-01-01", "to_date"),
        ("metrics=ots&from_date=2024-01-01&to_date=0000-00-00", "to_date"),
        ("metrics=ots&from_date=2024-01-01&page=-1", "page"),
        ("metrics=ots&from_date=2024-01-01&page=1.0", "page"),
        ("metrics=ots&from_date=2024-01-01&page=%D9%A1", "page"),
        ("metrics=ots&from_date=2024-01-01&timezone=../../etc/passwd", "timezone"),
    ],
)
async def test_what_is_wrong_is_named(house: House, query: str, parameter: str) -> None:
    status, answer, _ = await house.get(f"/api/1/entities?{query}")
    assert (status, answer["parameter"]) == (400, parameter)


async def test_answers_are_as_described(house: House) -> None:
    paths = openapi_document([], house.url)["paths"]
    for path, query in (("entities", {"metrics": ",".join(METRICS)}), ("visits", {})):
        _, answer, _ = await house.get(address(path, from_date="2024-03-01", to_date="2024-05-01", **query))
        schema = paths[f"/api/1/{path}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator(schema).validate(answer)


# Tokens

SPAN = {"from_date": "2024-03-01", "to_date": "2024-05-01"}


async def test_a_token_shows_its_own_stream_only(house: House) -> None:
    for stream, empty in ((0, False), (1, True)):
        _, answer, _ = await house.get(address("visits", **SPAN), await house.token(stream))
        assert (answer["total_results"] == 0) == empty


async def test_a_token_ends_with_the_credentials(house: House) -> None:
    token = await house.token()
    assert (await house.get(address("visits", **SPAN), token))[0] == 200
    database = Database(house.settings.database_url, 10)
    async with database.writing() as session:
        mine = StreamRow.client_id == house.streams[0].client_id
        await session.execute(update(StreamRow).where(mine).values(token_digest=b"n" * 32))
    await database.close()
    status, answer, headers = await house.get(address("visits", **SPAN), token)
    assert (status, answer["code"], headers["WWW-Authenticate"]) == (401, "token_refused", "Bearer")
    assert "changed" in answer["error"]


async def test_a_token_ends_with_the_account(house: House) -> None:
    token = await house.token()
    await house.accounts.delete_account(ANN)
    assert (await house.get(address("visits", **SPAN), token))[0] == 401


async def test_a_token_that_moved_to_another_stream_is_refused(house: House) -> None:
    mine = await house.data.accounts.credentials.proof_of(house.streams[0].client_id)
    assert mine is not None
    for proof in (mine, Proof(mine.account, mine.email_key, "0" * 32)):
        token = house.data.tokens.issue(house.streams[1].client_id, proof)
        assert (await house.get(address("visits", **SPAN), token))[0] == 401


@pytest.mark.parametrize("token", ["x", "a.b.c", "x" * 4097, "x" * 8000, "é.é.é", "null"])
async def test_a_malformed_token_is_refused_without_a_question(house: House, token: str) -> None:
    await house.accounts.delete_account(ANN)  # whatever reached the database would be told of credentials
    async with house.session.get(f"{house.url}/api/1/visits", headers={"Authorization": f"Bearer {token}"}) as response:
        answer = await response.json(content_type=None)
        assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "changed" not in answer["error"]


async def test_guessing_has_an_end(house: House) -> None:
    right = house.streams[0]
    answers = [await house.post(ANN, right.client_id, str(number)) for number in range(25)]
    statuses = [status for status, _, _ in answers]
    assert statuses[:15] == [401] * 15
    assert statuses[-1] == 429
    assert int(answers[-1][2]["Retry-After"]) > 0
    assert (await house.post(ANN, right.client_id, right.access_token))[0] == 429


# Faces


@pytest.mark.parametrize("faces", ["gate", "console", "data", "console,data", "gate, data"])
async def test_a_face_that_is_off_is_not_there(house: House, faces: str) -> None:
    async with AsyncExitStack() as stack:
        url = await serve(house.settings.model_copy(update={"faces": faces}), house.accounts, house.data, stack)
        asked = {"gate": ("GET", "/services"), "console": ("POST", "/api-token-authstream"), "data": ("GET", "/api/1/visits")}
        for face, (method, path) in asked.items():
            async with house.session.request(method, url + path) as response:
                assert (response.status == 404) == (face not in faces), (face, response.status)
        async with house.session.get(f"{url}/healthz") as response:
            assert response.status == 200
