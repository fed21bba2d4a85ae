"""The dashboard's numbers: those of the data API, over the days that were asked for and the days before."""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from analytics.store import Visits
from shared.visits import Visit
from tests.console import PASSWORD, Browser, House, open_house

ANN, BOB = "ann@example.com", "bob@example.com"
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


def visit(days_ago: float, *, interested: bool = False, **more: Any) -> Visit:
    times = {"view_seconds": 9.0, "stop_seconds": 5.0, "attention_seconds": 3.0} if interested else {"view_seconds": 2.0}
    return Visit(str(uuid.uuid4()), (NOON - timedelta(days=days_ago)).timestamp(), closed=True, **{**times, **more})


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(f"sqlite+aiosqlite:///{tmp_path}/it.db") as opened:
        for email in (ANN, BOB):
            await opened.accounts.create_account(email, PASSWORD)
        yield opened


@pytest.fixture
async def stream(house: House) -> str:
    return (await house.accounts.streams.add(ANN, "Door")).client_id


@pytest.fixture
async def browser(house: House) -> Browser:
    return await house.signed_in(ANN)


async def write(house: House, stream: str, *visits: Visit) -> None:
    kept = Visits(house.accounts.database, house.settings.senior_age)
    await kept.prepare()
    assert await kept.write([(stream, one) for one in visits]) == 0


def tiles(text: str) -> dict[str, str]:
    """The figures at the top, and by how much they changed."""
    found = re.findall(r'<div class="tile">\s*<dt>(.*?)</dt>\s*<dd>(.*?)</dd>', text, re.DOTALL)
    return {label: " ".join(re.sub(r"<[^>]+>", " ", value).split()) for label, value in found}


def charts(text: str) -> dict[str, Any]:
    drawn: dict[str, Any] = json.loads(unescape(re.search(r'data-series="(.*?)"', text)[1]))  # type: ignore[index]
    return drawn


async def test_seven_days_beside_the_seven_before(house: House, stream: str, browser: Browser) -> None:
    smiling = visit(1, interested=True, age=62.0, gender="male", happiness=0.5)
    await write(house, stream, visit(0), visit(1), smiling, visit(6, interested=True), visit(7), visit(13), visit(14), visit(400))
    text = (await browser.get(f"/streams/{stream}/dashboard")).text
    assert tiles(text)["People passing by"] == "4 ▲ +100 % against the 7 days before"
    assert tiles(text)["People interested"] == "2 – nothing to compare with"
    assert tiles(text)["Stopping time"].startswith("5.0 s")
    assert tiles(text)["Satisfaction"].startswith("50 %")
    drawn = charts(text)
    assert drawn["series"]["passing_by"] == [1, 0, 0, 0, 0, 2, 1]
    assert drawn["series"]["satisfaction"] == [None, None, None, None, None, 0.5, None]
    assert drawn["gender"] == {"?": 1, "female": 0, "male": 1}
    assert drawn["category"] == {"senior_female": 0, "senior_male": 1, "young_female": 0, "young_male": 0}


async def test_the_same_numbers_as_the_data_api(house: House, stream: str, browser: Browser) -> None:
    await write(house, stream, *(visit(days / 3, interested=days % 2 == 0, happiness=0.25) for days in range(60)))
    first, last = (NOON - timedelta(days=19)).date(), NOON.date()
    address = f"/streams/{stream}/dashboard/export?from={first}&to={last}&by=day&timezone=Europe/Paris"
    rows = list(csv.DictReader(io.StringIO((await browser.get(address)).text)))
    accounts = house.accounts
    (known,) = await accounts.streams.of(ANN)
    secret = await accounts.streams.reveal(known)
    assert secret is not None
    login = {"username": ANN, "client_id": stream, "access_token": secret.access_token}
    async with browser.session.post(f"{house.url}/api-token-authstream/", json=login) as answer:
        token = (await answer.json())["token"]
    begin, end = rows[0]["begin"], datetime.fromisoformat(rows[-1]["begin"]) + timedelta(days=1)
    query = {"metrics": "passing_by,interested,attention_time,satisfaction", "time": "by_day", "timezone": "Europe/Paris"}
    query |= {"from_date": begin, "to_date": end.isoformat()}
    async with browser.session.get(f"{house.url}/api/1/entities", params=query, headers={"Authorization": f"Bearer {token}"}) as answer:
        entities = (await answer.json())["entities"]
    assert len(rows) == len(entities) == 20
    for row in rows:
        told = entities[row["begin"]]
        for name in ("passing_by", "interested", "attention_time", "satisfaction"):
            assert row[name] == ("" if told[name]["value"] is None else str(told[name]["value"]))


async def test_a_year_and_hours(house: House, stream: str, browser: Browser) -> None:
    await write(house, stream, visit(0), visit(300))
    drawn = charts((await browser.get(f"/streams/{stream}/dashboard?days=365")).text)
    assert len(drawn["labels"]) == 365
    assert sum(drawn["series"]["passing_by"]) == 2
    hours = charts((await browser.get(f"/streams/{stream}/dashboard?days=1")).text)
    assert hours["labels"][12] == "12:00"
    assert hours["series"]["passing_by"] == [1 if hour == 12 else 0 for hour in range(24)]


async def test_nothing_yet_says_what_to_do(stream: str, browser: Browser) -> None:
    text = (await browser.get(f"/streams/{stream}/dashboard")).text
    assert "Nobody has been seen yet" in text
    assert "sensorium analyze door.mp4 --store" in text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("from=2026-02-30", "from: a date"),
        ("from=2026-03-02&to=2026-03-01", "must not be after to"),
        ("from=1990-01-01&to=2026-01-01", "at most 732 days"),
        ("days=8", "days: one of"),
        ("timezone=Nowhere/Land", "timezone: must be a name"),
    ],
)
async def test_what_cannot_be_read_is_said(stream: str, browser: Browser, query: str, said: str) -> None:
    answer = await browser.get(f"/streams/{stream}/dashboard?{query}")
    assert answer.status == 400
    assert said in answer.text
    assert (await browser.get(f"/streams/{stream}/dashboard/live?{query}")).status == 400
    assert (await browser.get(f"/streams/{stream}/dashboard/export?{query}")).status == 400


async def test_too_many_hours_become_days(stream: str, browser: Browser) -> None:
    text = (await browser.get(f"/streams/{stream}/dashboard?days=90&by=hour")).text
    assert len(charts(text)["labels"]) == 90


async def test_another_accounts_numbers_are_not_there(house: House, stream: str) -> None:
    other = await house.signed_in(BOB)
    for page in ("", "/live", "/export"):
        assert (await other.get(f"/streams/{stream}/dashboard{page}")).status == 404


async def test_what_the_stream_has_switched_off_is_not_shown(house: House, stream: str, browser: Browser) -> None:
    await write(house, stream, visit(1, interested=True, age=62.0, gender="male", happiness=0.5))
    (owned,) = await house.accounts.streams.of(ANN)
    await house.accounts.streams.set_off(owned, ["expression", "gender"])
    text = (await browser.get(f"/streams/{stream}/dashboard")).text
    assert tiles(text)["People interested"].startswith("1")
    assert tiles(text)["Satisfaction"].startswith("–")
    drawn = charts(text)
    assert set(drawn["series"]["satisfaction"]) == {None}
    assert set(drawn["gender"].values()) == set(drawn["category"].values()) == {None}
    assert "<dt>Men</dt><dd>–</dd>" in text
    assert "None" not in text
    exported = list(csv.DictReader(io.StringIO((await browser.get(f"/streams/{stream}/dashboard/export")).text)))
    assert {row["gender male"] for row in exported} == {""}
