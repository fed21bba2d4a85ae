"""Every route of the application × nobody, somebody else, no token, a login that is over. The routes are asked of the application itself.

A new page is covered by being there. What is open to everybody is written down here, so that opening a route is a decision.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text, update

from accounts.model import Plan, StreamSecret
from accounts.tables import LoginRow
from console.forms import FORM_TYPE, SAFE
from console.state import HANDLERS
from gateway.state import GATE
from tests.console import PASSWORD, Answer, Browser, House, open_house

ANN, BOB, ROOT = "ann@example.com", "bob@example.com", "root@example.com"
#: Pages for whoever is not signed in.
PUBLIC_PAGES = {("GET", "/"), ("GET", "/register"), ("POST", "/register"), ("GET", "/login"), ("POST", "/login")}
#: What concerns no tenant.
OPEN = {"/healthz", "/readyz", "/metrics", "/static/{digest}/{name}", "/api-token-authstream", "/api-token-authstream/"}


@dataclass(frozen=True)
class Way:
    """A route: its method, its pattern, and whether it is one of the console's pages."""

    method: str
    pattern: str
    page: bool

    def path(self, stream: str = "", **ids: str) -> str:
        known = {"stream": stream, "name": "dummy", "version": "1", **ids}
        return re.sub(r"\{(\w+)[^}]*\}", lambda match: known.get(match[1], "x"), self.pattern)

    def __str__(self) -> str:
        return f"{self.method} {self.pattern}"


@dataclass
class Town(House):
    """A house in which Ann has a stream, a job, a blob and a stream of frames, and Bob has a stream."""

    streams: dict[str, StreamSecret]
    made: dict[str, str]

    def ways(self) -> Iterator[Way]:
        for route in self.app.router.routes():
            if route.method != "HEAD" and route.resource is not None:
                yield Way(route.method, route.resource.canonical, route.handler in self.app[HANDLERS])

    def pages(self) -> list[Way]:
        found = [way for way in self.ways() if way.page]
        assert len(found) > 15
        return found

    def changes(self) -> list[Way]:
        return [way for way in self.pages() if way.method not in SAFE]

    def of_api(self) -> list[Way]:
        found = [way for way in self.ways() if not way.page and way.pattern not in OPEN]
        assert len(found) > 15
        return found

    async def content(self) -> dict[str, list[Any]]:
        """Everything that a page can change."""
        async with self.accounts.database.reading() as session:
            tables = ("accounts", "streams", "visits")
            return {table: [tuple(row) for row in await session.execute(text(f"SELECT * FROM {table} ORDER BY 1"))] for table in tables}

    def basic(self, whose: str) -> dict[str, str]:
        secret = self.streams[whose]
        return {"Authorization": aiohttp.encode_basic_auth(secret.client_id, secret.access_token)}


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with open_house(f"sqlite+aiosqlite:///{tmp_path}/it.db", dummy=True, guesses_per_address=1000) as house:
        for email, operator in ((ANN, False), (BOB, False), (ROOT, True)):
            await house.accounts.create_account(email, PASSWORD, Plan.ENTERPRISE, operator=operator)
        streams = {email: await house.accounts.streams.add(email, "Door") for email in (ANN, BOB)}
        made = await make_things(house, streams[ANN])
        yield Town(**vars(house), streams=streams, made=made)


async def make_things(house: House, secret: StreamSecret) -> dict[str, str]:
    """Of this stream one of each thing that an address of the API names, by the address's pattern."""
    client = await (await house.browser()).session.__aenter__()
    headers = {"Authorization": aiohttp.encode_basic_auth(secret.client_id, secret.access_token)}
    made: dict[str, str] = {}
    for kind in ("jobs", "streams"):
        async with client.post(f"{house.url}/services/dummy/1/{kind}", json={"echo": "hello"}, headers=headers) as response:
            made[f"/services/{{name}}/{{version}}/{kind}/{{id}}"] = (await response.json(content_type=None))["url"].rpartition("/")[2]
    form = aiohttp.FormData()
    form.add_field("meta", '{"content": "attachment://f"}', content_type="application/json")
    form.add_field("attachment://f", b"bytes", content_type="application/octet-stream", filename="f")
    async with client.post(f"{house.url}/blobs", data=form, headers=headers) as response:
        made["/blobs/{id}"] = (await response.json(content_type=None))["url"].rpartition("/")[2]
    return made


async def open_account(town: Town, email: str) -> Browser:
    browser = await town.signed_in(email)
    assert browser.token
    return browser


def is_sent_away(answer: Answer) -> bool:
    return answer.status == 303 and answer.location.partition("?")[0] == "/login"


# The console's pages


async def test_what_is_public_is_what_is_written_down(town: Town) -> None:
    stranger = await town.browser()
    found = set()
    for way in town.pages():
        answer = await stranger.ask(way.method, way.path(town.streams[ANN].client_id))
        if not is_sent_away(answer):
            found.add((way.method, way.pattern))
    assert found == PUBLIC_PAGES


async def test_pages_without_a_login(town: Town) -> None:
    before, stranger = await town.content(), await town.browser()
    await stranger.get("/login")  # the token of somebody who is not signed in
    for way in town.pages():
        if (way.method, way.pattern) in PUBLIC_PAGES:
            continue
        path = way.path(town.streams[ANN].client_id)
        answer = await (stranger.get(path) if way.method in SAFE else stranger.post(path, {"name": "Door"}))
        assert is_sent_away(answer), way
        answer = await stranger.ask(way.method, path, headers={"Accept": "application/json", "X-CSRF-Token": stranger.token})
        assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (401, "application/problem+json"), way
        assert "Basic" not in answer.headers["WWW-Authenticate"], way
    assert await town.content() == before


async def test_pages_with_a_login_that_is_over(town: Town) -> None:
    browser = await open_account(town, ANN)
    async with town.accounts.database.writing() as session:
        await session.execute(update(LoginRow).values(expires=datetime.now(UTC) - timedelta(seconds=1)))
    before = await town.content()
    for way in town.pages():
        if (way.method, way.pattern) in PUBLIC_PAGES:
            continue
        path = way.path(town.streams[ANN].client_id)
        answer = await (browser.ask("GET", path) if way.method in SAFE else browser.post(path, {"name": "Door"}))
        assert is_sent_away(answer), way
    assert await town.content() == before


async def test_pages_of_another_tenant_are_as_unknown_as_those_of_nobody(town: Town) -> None:
    before, bob = await town.content(), await open_account(town, BOB)
    tried = 0
    for way in town.pages():
        if "{stream}" not in way.pattern:
            continue
        answers = []
        for stream in (town.streams[ANN].client_id, str(uuid.uuid4()), "nonsense", "%00", "..%2F..%2Fetc%2Fpasswd"):
            path = way.path(stream)
            answer = await (bob.ask("GET", path) if way.method in SAFE else bob.post(path, {"name": "Door"}))
            answers.append((answer.status, answer.text.replace(bob.token, "")))
        assert answers[0][0] == 404, way
        assert len(set(answers)) == 1, way
        tried += 1
    assert tried >= 5
    assert await town.content() == before


async def test_operators_pages_are_not_there_for_others(town: Town) -> None:
    ann, root = await open_account(town, ANN), await open_account(town, ROOT)
    for way in town.pages():
        if not way.pattern.startswith("/operator"):
            continue
        path = way.path()
        answer = await (ann.ask("GET", path) if way.method in SAFE else ann.post(path))
        assert answer.status == 404, way
        if way.method in SAFE and "{" not in way.pattern:
            assert (await root.ask("GET", path)).status == 200, way


FORGERIES: dict[str, dict[str, Any]] = {
    "no token": {"data": {"name": "Door"}},
    "an empty token": {"data": {"csrf": "", "name": "Door"}},
    "a made-up token": {"data": {"csrf": "0" * 64, "name": "Door"}},
    "another browser's token": {"data": {"csrf": "OTHER", "name": "Door"}},
    "plain text": {"data": b"csrf=TOKEN&name=Door", "headers": {"Content-Type": "text/plain"}},
    "JSON without the header": {"data": b'{"csrf": "TOKEN", "name": "Door"}', "headers": {"Content-Type": "application/json"}},
    "JSON as text": {"data": b'{"csrf": "TOKEN"}', "headers": {"Content-Type": "text/plain;application/x-www-form-urlencoded"}},
    "a token in the address": {"params": {"csrf": "TOKEN"}},
    "another site's page": {"data": {"csrf": "TOKEN", "name": "Door"}, "headers": {"Sec-Fetch-Site": "cross-site"}},
    "another host of our domain": {"data": {"csrf": "TOKEN", "name": "Door"}, "headers": {"Sec-Fetch-Site": "same-site"}},
    "another origin": {"data": {"csrf": "TOKEN", "name": "Door"}, "headers": {"Origin": "https://evil.example"}},
    "a hidden origin": {"data": {"csrf": "TOKEN", "name": "Door"}, "headers": {"Origin": "null"}},
    "an origin that begins like ours": {"data": {"csrf": "TOKEN", "name": "Door"}, "headers": {"Origin": "URL.evil.example"}},
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_changes_that_no_form_of_ours_asked_for(town: Town, forgery: str) -> None:
    root, bob = await open_account(town, ROOT), await open_account(town, BOB)
    stream = (await town.accounts.streams.add(ROOT, "Door")).client_id
    before = await town.content()

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(inner) for name, inner in value.items()}
        if isinstance(value, bytes):
            return value.replace(b"TOKEN", root.token.encode())
        return value.replace("TOKEN", root.token).replace("OTHER", bob.token).replace("URL", town.url)

    for way in town.changes():
        answer = await root.ask(way.method, way.path(stream), **filled(FORGERIES[forgery]))
        assert answer.status == 403, (way, answer.text)
    assert (await root.ask("GET", "/account")).status == 200, "it was signed out"
    assert await town.content() == before


async def test_the_same_changes_are_made_when_a_form_asks_for_them(town: Town) -> None:
    """Otherwise the tests above would prove nothing."""
    ann = await open_account(town, ANN)
    stream = town.streams[ANN].client_id
    done = {}
    for way in town.changes():
        if way.pattern.startswith("/streams/{stream}"):
            headers = {"Content-Type": FORM_TYPE}
            done[way.pattern] = (await ann.post(way.path(stream), {"name": "Door"}, headers=headers)).status
    assert done["/streams/{stream}/rename"] == done["/streams/{stream}/delete"] == 303
    assert 403 not in done.values()
    assert [one.client_id for one in await town.accounts.streams.of(ANN)] == []


# The API


async def test_the_api_without_credentials_or_with_those_of_another_face(town: Town) -> None:
    browser = await open_account(town, ANN)
    token = await data_token(town)
    ids = {"id": str(uuid.uuid4())}
    wrong = [{}, {"Authorization": "Basic eDp5"}, {"Authorization": "Basic"}, {"Authorization": "Bearer x"}]
    for way in town.of_api():
        data = way.pattern.startswith("/api/1/")
        others = [{"Authorization": f"Bearer {token}"}] if not data else [town.basic(ANN)]
        for headers in [*wrong, *others]:
            path = way.path(**(ids | {"id": id_of(town, way) or ids["id"]}))
            answer = await browser.ask(way.method, path, headers={**headers, "Accept": "text/html"})
            assert answer.status in (401, 429), (way, headers)
            foreign = way.pattern.startswith("/v1/")  # in the form of another API
            assert answer.headers["Content-Type"].startswith("application/json" if foreign else "application/problem+json"), way
            if answer.status == 401:
                assert answer.headers["WWW-Authenticate"].startswith("Bearer" if data else "Basic"), way
        town.app[GATE].authenticate._failures._buckets.clear()  # or its limit would answer for the others


def id_of(town: Town, way: Way) -> str | None:
    """What of Ann's a route's address would name; the longest pattern that it begins with says so."""
    return next((made for pattern, made in town.made.items() if way.pattern.startswith(pattern)), None)


async def test_what_is_anothers_is_as_unknown_as_nothing(town: Town) -> None:
    stranger, headers = await town.browser(), {**town.basic(BOB), "Accept": "application/json"}
    tried = 0
    for way in town.of_api():
        if "{id}" not in way.pattern:
            continue
        made = id_of(town, way)
        assert made is not None, f"{way}: make one of what it names in make_things"
        unknown = made[:-1] + ("0" if made[-1] != "0" else "1")
        answers = []
        for name in (made, unknown):
            answer = await stranger.ask(way.method, way.path(id=name), headers=headers)
            answers.append((answer.status, answer.text.replace(name, "")))
        assert answers[0][0] == 404, way
        assert answers[0] == answers[1], way
        tried += 1
    assert tried >= 8
    # and they are still there for whom they belong to
    for pattern, made in town.made.items():
        answer = await stranger.ask("GET", Way("GET", pattern, False).path(id=made), headers=town.basic(ANN))
        assert answer.status == 200, pattern


async def data_token(town: Town) -> str:
    stranger, secret = await town.browser(), town.streams[ANN]
    login = {"username": ANN, "client_id": secret.client_id, "access_token": secret.access_token}
    async with stranger.session.post(f"{town.url}/api-token-authstream", json=login) as response:
        return str((await response.json())["token"])


async def test_nothing_but_the_console_minds_its_cookie(town: Town) -> None:
    """Somebody signed in is nobody to the API: a page elsewhere cannot use the browser against it."""
    browser = await open_account(town, ANN)
    answer = await browser.ask("GET", "/services")
    assert answer.status == 401
