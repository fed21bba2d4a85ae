"""Guessing passwords and who has an account: how often, and what can be told from the answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from accounts.model import DEMO_SECRET, Plan
from accounts.passwords import Passwords
from tests.console import PASSWORD, Answer, House, open_house

ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/it.db"


@pytest.fixture
async def house(place: str) -> AsyncIterator[House]:
    async with open_house(place, dummy=True) as opened:
        await opened.accounts.create_account(ANN, PASSWORD, Plan.ENTERPRISE)
        yield opened


def told(answer: Answer, *own: str) -> tuple[int, str, str, list[str]]:
    """Everything that an attacker can tell answers by, without what differs between any two browsers."""
    text = re.sub(r"[0-9a-f]{64}", "", answer.text)
    for word in own:
        text = text.replace(word, "")
    return answer.status, answer.location, text, sorted(name for name in answer.headers if name != "Date")


async def test_guesses_at_an_account_run_out_wherever_they_come_from_and_outlive_a_restart(house: House, place: str) -> None:
    browser = await house.browser()
    answers = [await browser.guess(ANN, headers={"X-Forwarded-For": f"198.51.100.{number}"}) for number in range(12)]
    assert [answer.status for answer in answers] == [401] * 10 + [429] * 2
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 90
    assert (await browser.guess(ANN, PASSWORD)).status == 429  # not even the right one tells that it is right
    async with open_house(place) as again:
        assert (await (await again.browser()).guess(ANN, PASSWORD)).status == 429


async def test_spraying_over_accounts_runs_out_by_address(place: str) -> None:
    async with open_house(place, guesses_per_address=15) as house:
        browser = await house.browser()
        answers = [await browser.guess(f"guest{number}@example.com") for number in range(17)]
        assert [answer.status for answer in answers] == [401] * 15 + [429] * 2


async def test_addresses_are_believed_of_trusted_proxies_only(place: str) -> None:
    async with open_house(place, guesses_per_address=3, trusted_proxies="127.0.0.1") as house:
        browser = await house.browser()
        for number in range(8):
            answer = await browser.guess(f"guest{number}@example.com", headers={"X-Forwarded-For": f"6.6.6.6, 198.51.100.{number}"})
            assert answer.status == 401


async def test_guesses_of_others_do_not_lock_the_owner_out_of_a_known_browser(house: House) -> None:
    owner = await house.signed_in(ANN)
    await owner.post("/logout")
    stranger = await house.browser()
    for _ in range(11):
        await stranger.guess(ANN)
    assert (await (await house.browser()).guess(ANN, PASSWORD)).status == 429
    assert (await owner.sign_in(ANN)).status == 303
    # neither does the mark of one account help against another, nor one that was made up
    await house.accounts.create_account(BOB, PASSWORD)
    for _ in range(11):
        await stranger.guess(BOB)
    await owner.post("/logout")
    assert (await owner.sign_in(BOB)).status == 429
    headers = {"Cookie": f"sensorium-form={stranger.cookie('sensorium-form')}; sensorium-device={'0' * 32}.{'0' * 32}"}
    assert (await stranger.guess(BOB, PASSWORD, headers=headers)).status == 429


async def test_whoever_finds_an_open_browser_cannot_guess_the_password_there(house: House) -> None:
    browser = await house.signed_in(ANN)
    fields = {"current": "wrong horse", "password": "another horse", "again": "another horse"}
    statuses = [(await browser.post("/account/password", fields)).status for _ in range(11)]
    assert statuses == [400] * 10 + [429]
    assert (await browser.post("/account/delete", {"current": PASSWORD})).status == 429


async def test_registering_without_end_is_refused(house: House) -> None:
    browser = await house.browser()
    await browser.get("/register")
    fields = [{"email": f"guest{n}@example.com", "password": PASSWORD, "again": PASSWORD} for n in range(12)]
    statuses = [(await browser.post("/register", one)).status for one in fields]
    assert statuses == [303] * 10 + [429] * 2


# Who has an account


async def test_no_answer_tells_who_has_an_account(house: House) -> None:
    answers = {}
    for email in (ANN, ANN.upper(), "nobody@example.com"):
        browser = await house.browser()
        registering = {"email": email, "password": "another horse", "again": "another horse"}
        wrong = await browser.guess(email, "wrong horse")
        await browser.get("/register")
        secret = {"username": email, "client_id": DEMO_SECRET.client_id, "access_token": "x"}
        async with browser.session.post(f"{house.url}/api-token-authstream", json=secret) as response:
            token = (response.status, await response.text())
        answers[email] = (told(wrong, email), told(await browser.post("/register", registering), email), token)
    assert len({str(answer) for answer in answers.values()}) == 1
    assert await house.accounts.check_password(ANN, PASSWORD) is not None, "the account of another was taken over"


async def test_every_answer_costs_the_same_work(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    work: list[str] = []
    verify, hashed = Passwords._verify, PasswordHasher.hash
    monkeypatch.setattr(Passwords, "_verify", lambda self, *given: work.append("verify") or verify(self, *given))
    monkeypatch.setattr(PasswordHasher, "hash", lambda self, *given: work.append("hash") or hashed(self, *given))
    await (await house.browser()).guess("warm@example.com")  # makes the hash of nobody, once a process
    for email in (ANN, "nobody@example.com"):
        work.clear()
        browser = await house.browser()
        await browser.guess(email)
        assert work == ["verify"]
        await browser.get("/register")
        await browser.post("/register", {"email": email, "password": PASSWORD, "again": PASSWORD})
        assert work == ["verify", "hash"]
