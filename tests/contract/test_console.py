"""The console's accounts and streams over HTTP and a database: coming in, staying in, changing things, going out."""

from __future__ import annotations

import asyncio
import html
import re
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from accounts.model import DEMO_EMAIL, Plan
from analytics.store import Visits
from shared.usage import DayOfUse, day_of
from shared.visits import Visit
from tests.console import PASSWORD, House, open_house
from tests.needs import needs

ANN, BOB = "Ann@example.com", "bob@example.com"


@pytest.fixture
async def house(database: str) -> AsyncIterator[House]:
    async with open_house(database, dummy=True, store_seconds=30) as opened:
        await opened.accounts.create_account(ANN, PASSWORD)
        yield opened


async def test_register_sign_in_and_out(house: House) -> None:
    browser = await house.browser()
    await browser.get("/register")
    answer = await browser.post("/register", {"email": BOB, "password": PASSWORD, "again": PASSWORD})
    assert (answer.status, answer.location) == (303, "/login?registered")
    assert (await browser.get("/streams?page=2")).location == "/login?next=%2Fstreams%3Fpage%3D2"
    answer = await browser.sign_in(BOB, wanted="/streams?page=2")
    assert (answer.status, answer.location) == (303, "/streams?page=2")
    page = await browser.get("/streams")
    assert page.status == 200
    assert BOB in page.text
    assert (await browser.get("/")).location == "/streams"
    assert (await browser.post("/logout")).location == "/login"
    assert (await browser.get("/streams")).status == 303


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"email": "nonsense", "password": PASSWORD, "again": PASSWORD}, "not an e-mail address"),
        ({"email": BOB, "password": "short", "again": "short"}, "8 to 1024 characters"),
        ({"email": BOB, "password": PASSWORD, "again": PASSWORD + "x"}, "differ"),
        ({"email": BOB, "password": PASSWORD}, "differ"),
        ({}, "not an e-mail address"),
    ],
)
async def test_what_cannot_be_registered_is_said(house: House, fields: dict[str, str], said: str) -> None:
    browser = await house.browser()
    await browser.get("/register")
    answer = await browser.post("/register", fields)
    assert answer.status == 400
    assert said in answer.text
    assert 'role="alert"' in answer.text
    assert len(await house.accounts.accounts()) == 1


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "/\\evil.example", "https://evil.example/", "javascript:alert(1)", "evil", "/\t/evil.example", "/a\r\nX: y", "/é"],
)
async def test_signing_in_leads_nowhere_but_here(house: House, wanted: str) -> None:
    answer = await (await house.browser()).sign_in(ANN, wanted=wanted)
    assert (answer.status, answer.location) == (303, "/streams")


async def test_a_new_password_signs_every_other_browser_out(house: House) -> None:
    here, there = await house.signed_in(ANN), await house.signed_in(ANN)
    wrong = {"current": "wrong horse", "password": "another horse", "again": "another horse"}
    answer = await here.post("/account/password", wrong)
    assert (answer.status, "not your password" in answer.text) == (400, True)
    answer = await here.post("/account/password", {**wrong, "current": PASSWORD, "again": "yet another"})
    assert (answer.status, "differ" in answer.text) == (400, True)
    answer = await here.post("/account/password", {"current": PASSWORD, "password": "short", "again": "short"})
    assert (answer.status, "8 to 1024" in answer.text) == (400, True)
    assert (await there.get("/account")).status == 200
    before = here.cookie("sensorium-login")
    answer = await here.post("/account/password", {**wrong, "current": PASSWORD})
    assert answer.location == "/account?changed"
    assert here.cookie("sensorium-login") != before
    assert (await here.get("/account?changed")).status == 200
    assert (await there.get("/account")).status == 303
    assert (await (await house.browser()).sign_in(ANN)).status == 401
    assert (await (await house.browser()).sign_in(ANN, "another horse")).status == 303


async def test_a_login_holds_for_every_gateway_and_ends_for_every_gateway(house: House, database: str) -> None:
    async with open_house(database, store_seconds=30) as other:
        browser = await house.signed_in(ANN)
        same = await other.browser()
        same.headers["Cookie"] = f"sensorium-login={browser.cookie('sensorium-login')}"
        assert (await same.get("/account")).status == 200
        assert (await same.post("/logout")).status == 303  # with the token that the other gateway made
        assert (await browser.get("/account")).status == 303


async def test_other_browsers_can_be_signed_out(house: House) -> None:
    here, there = await house.signed_in(ANN), await house.signed_in(ANN)
    assert "signed in in 2 browsers" in (await here.get("/account")).text
    await here.post("/account/logins/end")
    assert (await there.get("/account")).status == 303
    assert "this browser only" in (await here.get("/account")).text


async def test_an_account_is_deleted_with_everything_of_it(house: House) -> None:
    secret = await house.accounts.streams.add(ANN, "Door")
    await keep_a_visit(house, secret.client_id)
    browser, other = await house.signed_in(ANN), await house.signed_in(ANN)
    answer = await browser.post("/account/delete", {"current": "wrong horse"})
    assert (answer.status, "not your password" in answer.text) == (400, True)
    answer = await browser.post("/account/delete", {"current": PASSWORD})
    assert (answer.status, answer.location) == (303, "/")
    assert await house.accounts.accounts() == []
    assert await house.accounts.credentials.verify(secret.client_id, secret.access_token) is None
    assert await count_visits(house) == 0
    for one in (browser, other):
        assert (await one.get("/account")).status == 303


async def keep_a_visit(house: House, stream: str) -> None:
    visits = Visits(house.accounts.database, 50)
    await visits.prepare()
    await visits.write([(stream, Visit("0" * 36, 1_700_000_000.0, 5.0, 4.0, 2.0, 30.0, "female", 0.5, closed=True))])
    assert await count_visits(house) == 1


async def count_visits(house: House) -> int:
    from sqlalchemy import text

    async with house.accounts.database.reading() as session:
        found = [await session.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in ("visits", "visit_hours")]
    assert found[0] == found[1]
    return found[0]


async def test_a_closed_installation_makes_no_accounts(tmp_path: Path) -> None:
    async with open_house(f"sqlite+aiosqlite:///{tmp_path}/it.db", registration="closed") as house:
        browser = await house.browser()
        for path in ("/", "/login"):
            page = await browser.get(path)
            assert (page.status, "/register" in page.text) == (200, False)
        assert "sensorium account create" in (await browser.get("/register")).text
        answer = await browser.post("/register", {"email": BOB, "password": PASSWORD, "again": PASSWORD})
        assert answer.status == 404
        assert await house.accounts.accounts() == []


async def test_a_head_is_answered_like_its_page_without_the_page(house: House) -> None:
    browser = await house.browser()
    answer = await browser.ask("HEAD", "/login")
    assert (answer.status, answer.text) == (200, "")
    assert "Content-Security-Policy" in answer.headers


async def test_a_newcomer_with_the_demonstration_starts_where_things_are_tried_out(tmp_path: Path) -> None:
    async with open_house(f"sqlite+aiosqlite:///{tmp_path}/it.db", allow_demo=True) as house:
        await house.accounts.create_account(DEMO_EMAIL, PASSWORD)
        browser = await house.browser()
        assert (await browser.sign_in(DEMO_EMAIL)).location == "/playground"
        assert (await browser.get("/playground")).status == 200


# Streams


async def test_a_stream_from_its_beginning_to_its_end(house: House) -> None:
    browser = await house.signed_in(ANN)
    assert "No stream yet" in (await browser.get("/streams")).text
    answer = await browser.post("/streams/new", {"name": "  Store #2 ", "plan": "developer"})
    [stream] = await house.accounts.streams.of(ANN)
    path = f"/streams/{stream.client_id}"
    assert (answer.location, stream.name) == (path, "Store #2")
    secret = await house.accounts.streams.reveal(stream)
    assert secret is not None
    assert secret.access_token not in (await browser.get(path)).text
    assert secret.access_token in (await browser.get(f"{path}/credentials")).text
    await browser.post(f"{path}/rename", {"name": "Door"})
    assert "Door" in (await browser.get("/streams")).text
    answer = await browser.post(f"{path}/rename", {"name": "\x00"})
    assert (answer.status, "1 to 100 printable" in answer.text) == (400, True)
    await keep_a_visit(house, stream.client_id)
    answer = await browser.post(f"{path}/delete", {"name": "Window"})
    assert (answer.status, len(await house.accounts.streams.of(ANN))) == (400, 1)
    assert (await browser.post(f"{path}/delete", {"name": "Door"})).location == "/streams"
    assert await house.accounts.streams.of(ANN) == []
    assert await count_visits(house) == 0
    assert (await browser.get(path)).status == 404


async def test_new_credentials_work_at_once_and_the_old_ones_no_more(house: House) -> None:
    browser, client = await house.signed_in(ANN), await house.browser()
    old = await house.accounts.streams.add(ANN, "Door")

    async def status(token: str) -> int:
        from aiohttp import encode_basic_auth

        return (await client.ask("GET", "/services", headers={"Authorization": encode_basic_auth(old.client_id, token)})).status

    assert await status(old.access_token) == 200
    answer = await browser.post(f"/streams/{old.client_id}/rotate")
    assert answer.location == f"/streams/{old.client_id}/credentials?done=rotated"
    new = await house.accounts.streams.reveal((await house.accounts.streams.of(ANN))[0])
    assert new is not None
    assert new.client_id == old.client_id
    assert (await status(new.access_token), await status(old.access_token)) == (200, 401)


async def test_the_plan_developer_has_one_stream_also_when_asked_many_times_at_once(house: House) -> None:
    browser = await house.signed_in(ANN)
    answers = await asyncio.gather(*(browser.post("/streams/new", {"name": f"Door {n}", "plan": "developer"}) for n in range(5)))
    assert sorted(answer.status for answer in answers) == [303, 400, 400, 400, 400]
    assert len(await house.accounts.streams.of(ANN)) == 1
    assert "/streams/new" not in (await browser.get("/streams")).text


async def test_enterprise_is_granted_by_operators_only(house: House) -> None:
    browser = await house.signed_in(ANN)
    for plan in ("enterprise", "gold", ""):
        assert (await browser.post("/streams/new", {"name": "Door", "plan": plan})).status == 400
    assert await house.accounts.streams.of(ANN) == []
    await house.accounts.set_plan(ANN, Plan.ENTERPRISE)
    for name in ("Door", "Window"):
        assert (await browser.post("/streams/new", {"name": name, "plan": "enterprise"})).status == 303


async def test_use_of_the_plan_is_seen(house: House) -> None:
    account, secret = (await house.accounts.accounts())[0], await house.accounts.streams.add(ANN, "Door")
    await house.accounts.ledger.save([DayOfUse(account.id, secret.client_id, day_of(time.time()), 7500)])
    browser = await house.signed_in(ANN)
    for path in ("/streams", f"/streams/{secret.client_id}"):
        page = (await browser.get(path)).text
        assert '<progress max="10800" value="7500"' in page
        assert "2 h 5 min of 3 h this month" in page
        assert "all streams together" in page
    await house.accounts.set_plan(ANN, Plan.ENTERPRISE)
    page = (await browser.get("/streams")).text
    assert "2 h 5 min of 12 h this day" in page
    assert "all streams together" not in page


async def test_analyses_of_people_can_be_switched_off(house: House) -> None:
    secret = await house.accounts.streams.add(ANN, "Door")
    browser, path = await house.signed_in(ANN), f"/streams/{secret.client_id}"
    assert (await browser.get(path)).text.count("checked") == 4
    fields = [("csrf", browser.token), ("analysis", "age"), ("analysis", "gender"), ("analysis", "nonsense")]
    answer = await browser.ask("POST", f"{path}/privacy", data=fields, headers={"Origin": browser.url})
    assert answer.location == f"{path}?done=privacy"
    assert (await house.accounts.streams.of(ANN))[0].off == ("expression", "identification")
    assert re.findall(r'value="(\w+)" checked', (await browser.get(path)).text) == ["age", "gender"]


async def test_credentials_of_another_secret_key_are_said_to_be_lost(house: House, database: str) -> None:
    await house.accounts.streams.add(ANN, "Door")
    async with open_house(database, secret_key="another" * 8, store_seconds=30) as other:
        browser = await other.signed_in(ANN)
        [stream] = await other.accounts.streams.of(ANN)
        page = await browser.get(f"/streams/{stream.client_id}/credentials")
        assert (page.status, "another secret key" in page.text) == (200, True)
        await browser.post(f"/streams/{stream.client_id}/rotate")
        assert "access_token" in (await browser.get(f"/streams/{stream.client_id}/credentials")).text


@needs("curl")
async def test_the_first_line_does_what_it_says_when_pasted(house: House) -> None:
    """The others need a network; a browser's test pastes them."""
    secret = await house.accounts.streams.add(ANN, "Door")
    page = await (await house.signed_in(ANN)).get(f"/streams/{secret.client_id}/credentials")
    lines = [html.unescape(found) for found in re.findall(r'<code id="snippet-\d">(.*?)</code>', page.text, re.DOTALL)]
    assert len(lines) == 3
    done = await asyncio.to_thread(subprocess.run, ["sh", "-c", f"{lines[0]} -s"], capture_output=True, text=True, timeout=60)
    assert '"echo":"Hello world!"' in done.stdout, done.stderr


async def test_the_lines_name_the_gate_where_it_has_an_address_of_its_own(tmp_path: Path) -> None:
    async with open_house(f"sqlite+aiosqlite:///{tmp_path}/it.db", gate_url="https://gate.example/") as house:
        await house.accounts.create_account(ANN, PASSWORD)
        secret = await house.accounts.streams.add(ANN, "Door")
        page = await (await house.signed_in(ANN)).get(f"/streams/{secret.client_id}/credentials")
        assert page.text.count("https://gate.example/services/") == 3


# The database is away


async def test_pages_say_when_the_database_is_away(tmp_path: Path) -> None:
    async with open_house(f"sqlite+aiosqlite:///{tmp_path}/it.db") as house:
        await house.accounts.create_account(ANN, PASSWORD)
        browser = await house.signed_in(ANN)
        tmp_path.joinpath("it.db").rename(tmp_path / "elsewhere.db")
        await house.accounts.database.close()
        answer = await browser.get("/streams")
        assert (answer.status, "text/html" in answer.headers["Content-Type"]) == (503, True)
        assert int(answer.headers["Retry-After"]) > 0
        assert (await browser.get("/login")).status == 503
        assert (await (await house.browser()).get("/login")).status == 200  # which asks it nothing


async def test_faces_without_the_console_have_no_pages(tmp_path: Path) -> None:
    async with open_house(f"sqlite+aiosqlite:///{tmp_path}/it.db", faces="gate,data") as house:
        answer = await (await house.browser()).get("/login")
        assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")
