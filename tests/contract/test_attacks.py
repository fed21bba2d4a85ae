"""What attackers try at the console and the accounts behind it, and what they get."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import encode_basic_auth

from accounts.model import DEMO_EMAIL, DEMO_SECRET, Plan
from console.assets import Assets
from console.routing import collect
from tests.console import PASSWORD, SECRET, House, open_house

ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/it.db"


@pytest.fixture
async def house(place: str) -> AsyncIterator[House]:
    async with open_house(place, dummy=True) as opened:
        await opened.accounts.create_account(ANN, PASSWORD, Plan.ENTERPRISE)
        yield opened


# Logins


async def test_an_identifier_that_was_planted_is_worth_nothing(house: House) -> None:
    victim, attacker = await house.browser(), await house.browser()
    planted = "planted" * 6
    victim.headers["Cookie"] = f"sensorium-login={planted}; sensorium-form={planted}"
    await victim.get("/login")
    answer = await victim.post("/login", {"email": ANN, "password": PASSWORD})
    assert answer.status == 303
    assert planted not in "".join(answer.headers.getall("Set-Cookie"))
    attacker.headers["Cookie"] = f"sensorium-login={planted}"
    assert (await attacker.get("/streams")).status == 303


async def test_signing_in_again_ends_the_login_before(house: House) -> None:
    browser = await house.signed_in(ANN)
    old = browser.cookie("sensorium-login")
    await browser.sign_in(ANN)
    thief = await house.browser()
    thief.headers["Cookie"] = f"sensorium-login={old}"
    assert (await thief.get("/streams")).status == 303


async def test_a_stolen_cookie_ends_with_signing_out(house: House) -> None:
    browser, thief = await house.signed_in(ANN), await house.browser()
    thief.headers["Cookie"] = f"sensorium-login={browser.cookie('sensorium-login')}"
    assert (await thief.get("/streams")).status == 200
    await browser.get("/account")
    await browser.post("/logout")
    assert (await thief.get("/streams")).status == 303


@pytest.mark.parametrize(("public_url", "prefix"), [(None, ""), ("https://console.example", "__Host-")])
async def test_cookies_are_out_of_reach_of_scripts_and_other_sites(place: str, public_url: str | None, prefix: str) -> None:
    async with open_house(place, public_url=public_url) as house:
        await house.accounts.create_account(ANN, PASSWORD)
        browser = await house.browser()
        page = await browser.get("/login")
        form = page.headers["Set-Cookie"]
        word = form.partition(";")[0]
        fields = {"email": ANN, "password": PASSWORD}
        answer = await browser.post("/login", fields, headers={"Cookie": word})
        assert answer.status == 303
        for cookie in (form, *answer.headers.getall("Set-Cookie")):
            assert cookie.startswith(f"{prefix}sensorium-")
            assert "HttpOnly" in cookie
            assert "SameSite=Lax" in cookie
            assert "Path=/" in cookie
            assert "Domain" not in cookie
            assert ("Secure" in cookie) == bool(prefix)


async def test_credentials_of_a_stream_open_no_page(house: House) -> None:
    secret = await house.accounts.streams.add(ANN, "Door")
    browser = await house.browser()
    assert (await browser.guess(secret.client_id, secret.access_token)).status == 401
    assert (await browser.guess(ANN, secret.access_token)).status == 401
    for header in (encode_basic_auth(secret.client_id, secret.access_token), encode_basic_auth(ANN, PASSWORD)):
        assert (await browser.get("/streams", headers={"Authorization": header})).location.startswith("/login")


async def test_published_credentials_are_worth_nothing_outside_the_demonstration(place: str) -> None:
    async with open_house(place, allow_demo=True) as demo:
        await demo.accounts.create_account(DEMO_EMAIL, PASSWORD)
        await demo.accounts.streams.put_demo(DEMO_EMAIL, "Demo")
        browser = await demo.signed_in(DEMO_EMAIL)
        word = browser.cookie("sensorium-login")
    async with open_house(place, dummy=True) as house:  # over the same database
        stranger = await house.browser()
        basic = {"Authorization": encode_basic_auth(DEMO_SECRET.client_id, DEMO_SECRET.access_token)}
        assert (await stranger.ask("GET", "/services", headers=basic)).status == 401
        assert (await stranger.guess(DEMO_EMAIL, PASSWORD)).status == 401
        stranger.headers["Cookie"] = f"sensorium-login={word}"
        assert (await stranger.get("/streams")).status == 303


# What comes back


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "</title><svg onload=alert(1)>",
    "javascript:alert(1)",
]


class Shape(HTMLParser):
    """The elements of a page with the names of their attributes; and apart from them, what is text and values."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *sorted(name for name, _ in attrs)))
        self.words += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


async def pages_with(house: House, name: str) -> list[Shape]:
    """Every page that shows a text of its visitor's, with this one."""
    secret = await house.accounts.streams.add(ANN, name)
    browser, stranger = await house.signed_in(ANN), await house.browser()
    path, encoded = f"/streams/{secret.client_id}", "".join(f"%{byte:02x}" for byte in name.encode())
    answers = [await browser.get(page) for page in ("/streams", path, f"{path}/credentials")]
    answers.append(await browser.post(f"{path}/delete", {"name": "another"}))
    answers.append(await browser.post("/streams/new", {"name": name, "plan": "gold"}))
    answers.append(await browser.ask("GET", f"/{encoded}"))
    await stranger.get(f"/login?next=/{encoded}")
    answers.append(await stranger.post("/login", {"email": name, "password": "x", "next": f"/{name}"}))
    await house.accounts.streams.delete((await house.accounts.streams.of(ANN))[0])
    return [Shape(answer.text) for answer in answers]


@pytest.mark.parametrize("name", HOSTILE)
async def test_names_are_text_wherever_they_are_shown(house: House, name: str) -> None:
    innocent, hostile = await pages_with(house, "Door"), await pages_with(house, name)
    assert [shape.elements for shape in innocent] == [shape.elements for shape in hostile]
    shown = [any(name in word for word in shape.words) for shape in hostile]
    assert shown == [any("Door" in word for word in shape.words) for shape in innocent]
    assert sum(shown) >= 5


async def test_every_page_forbids_what_is_not_ours(house: House) -> None:
    browser = await house.signed_in(ANN)
    stream = (await house.accounts.streams.add(ANN, "Door")).client_id
    for path in (
        "/",
        "/login",
        "/register",
        "/streams",
        "/streams/new",
        f"/streams/{stream}",
        f"/streams/{stream}/credentials",
        "/account",
        "/x",
    ):
        answer = await browser.get(path)
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'", path
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'", path
        assert answer.headers["Cache-Control"] == "no-store", path
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        assert answer.headers["Referrer-Policy"] == "same-origin", path
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", answer.text), path
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", answer.text), f"{path} asks another host"


async def test_no_secret_is_in_an_address(house: House) -> None:
    """Addresses are kept in histories, logs and referrers."""
    secret = await house.accounts.streams.add(ANN, "Door")
    browser = await house.signed_in(ANN)
    seen: list[str] = []
    for path in ("/streams", f"/streams/{secret.client_id}", f"/streams/{secret.client_id}/credentials", "/account"):
        seen += re.findall(r"(?:src|href|action)=\"([^\"]*)\"", (await browser.get(path)).text)
    seen.append((await browser.post(f"/streams/{secret.client_id}/rotate")).location)
    assert len(seen) > 20
    for word in (secret.access_token, browser.token, browser.cookie("sensorium-login"), PASSWORD):
        assert not any(word in address for address in seen)


async def test_no_secret_is_in_the_log(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    browser = await house.browser()
    await browser.guess(ANN, "wrong horse of mine")
    browser = await house.signed_in(ANN)
    word, token = browser.cookie("sensorium-login"), browser.token
    await browser.post("/streams/new", {"name": "Door"})
    [stream] = await house.accounts.streams.of(ANN)
    secret = await house.accounts.streams.reveal(stream)
    assert secret is not None
    await browser.get(f"/streams/{stream.client_id}/credentials")
    await browser.post(f"/streams/{stream.client_id}/rotate")
    await browser.post("/account/password", {"current": PASSWORD, "password": "another horse", "again": "another horse"})
    said = "".join(capfd.readouterr())
    for event in ("audit.login", "audit.login_refused", "audit.stream_added", "audit.credentials_shown", "audit.password_changed"):
        assert event in said
    for kept in (PASSWORD, "wrong horse of mine", "another horse", secret.access_token, word, token, SECRET):
        assert kept not in said


# Identifiers


@pytest.mark.parametrize(
    "name", ["a:b", "a*", "#", "a/b", "../a", "a b", "a\r\nb", "a\x00", "é", "", "a" * 129, "KEYS[1]", "'; DROP TABLE"]
)
async def test_no_identifier_means_anything_to_a_store_or_a_broker(house: House, name: str) -> None:
    secret = await house.accounts.streams.add(ANN, "Door")
    browser = await house.browser()
    headers = {"Authorization": encode_basic_auth(secret.client_id, secret.access_token), "Accept": "application/json"}
    body = {"echo": "x", "async": False, "state": {"session_id": name}}
    answer = await browser.ask("POST", "/services/dummy/1/jobs", json=body, headers=headers)
    assert (answer.status, '"parameter":"state.session_id"' in answer.text) == (400, True), answer.text
    encoded = quote(name, safe="")
    for path in (f"/services/{encoded}x/1/jobs", f"/services/dummy/{encoded}1x/jobs"):
        assert (await browser.ask("POST", path, json={}, headers=headers)).status == 404
    for path in (f"/blobs/{encoded}x", f"/services/dummy/1/jobs/{encoded}x", f"/services/dummy/1/streams/{encoded}x"):
        assert (await browser.ask("GET", path, headers=headers)).status == 404


# Files


@pytest.mark.parametrize(
    "name",
    [
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "....//app.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "console.css/../../app.py",
        "console.css%00",
        "",
        ".",
    ],
)
async def test_no_name_leads_out_of_the_folder(house: House, name: str) -> None:
    stranger = await house.browser()
    address = Assets().address("console.css")
    assert (await stranger.ask("GET", address)).status == 200
    answer = await stranger.ask("GET", address.removesuffix("console.css") + name)
    assert answer.status == 404
    assert "put_console" not in answer.text


async def test_files_are_kept_by_browsers_and_change_their_address_with_their_content(house: House, tmp_path: Path) -> None:
    stranger = await house.browser()
    answer = await stranger.ask("GET", Assets().address("console.css"))
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    tmp_path.joinpath("a.css").write_text("a {}")
    before = Assets(tmp_path).address("a.css")
    tmp_path.joinpath("a.css").write_text("b {}")
    assert Assets(tmp_path).address("a.css") != before
    assert (await stranger.ask("GET", "/static/0123456789abcdef/console.css")).status == 404


# Forms


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"csrf=TOKEN&email=%ff&password=x", 400),
        (b"csrf=TOKEN&" + b"&".join(b"a%d=1" % n for n in range(200)), 400),
        (b"csrf=TOKEN&email=" + b"a" * 70_000, 413),
        (b"", 403),
        (b"\xff\xfe\x00", 400),
        (b"csrf=TOKEN&csrf=other&email=a@b&password=x", 401),
        (b"email=a@b&password=" + b"x" * 60_000 + b"&csrf=TOKEN", 401),
        (b"csrf=TOKEN&email=a%00@b&password=%00", 401),
        (b"csrf=TOKEN&email=%27%20OR%201%3D1%20--@b&password=%27%20OR%201%3D1", 401),
        (b"csrf=%00&email=a@b&password=x", 403),
        (b"csrf=%ED%A0%80", 400),
    ],
)
async def test_any_form_gets_a_sensible_answer(house: House, body: bytes, status: int) -> None:
    browser = await house.browser()
    await browser.get("/login")
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    answer = await browser.ask("POST", "/login", data=body.replace(b"TOKEN", browser.token.encode()), headers=headers)
    assert answer.status == status


@pytest.mark.parametrize("cookie", ["", "x", "é", "\x80" * 10, "a" * 5000, '"quoted"', "a=b=c", ";", "\ud800"])
async def test_any_cookie_is_nobody(house: House, cookie: str) -> None:
    browser = await house.browser()
    for name in ("sensorium-login", "sensorium-form", "sensorium-device"):
        header = f"{name}={cookie}".encode("utf-8", "surrogatepass").decode("latin-1")
        answer = await browser.get("/streams", headers={"Cookie": header})
        assert answer.status == 303
        answer = await browser.get("/login", headers={"Cookie": header})
        assert answer.status == 200


def test_every_route_is_registered_once() -> None:
    routes, entries = collect()
    ways = [(route.method, route.path) for route in routes]
    assert len(ways) == len(set(ways))
    assert {entry.path for entry in entries} <= {path for method, path in ways if method == "GET"}
