"""The console's accounts over HTTP and a database: coming in, staying in, going out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.console import PASSWORD, House, open_house

ANN, BOB = "Ann@example.com", "bob@example.com"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(f"sqlite+aiosqlite:///{tmp_path}/it.db") as opened:
        await opened.accounts.create_account(ANN, PASSWORD)
        yield opened


async def test_register_sign_in_and_out(house: House) -> None:
    browser = await house.browser()
    await browser.get("/register")
    answer = await browser.post("/register", {"email": BOB, "password": PASSWORD, "again": PASSWORD})
    assert (answer.status, answer.location) == (303, "/login?registered")
    assert (await browser.get("/streams")).location == "/login?next=%2Fstreams"
    answer = await browser.sign_in(BOB, wanted="/streams")
    assert (answer.status, answer.location) == (303, "/streams")
    page = await browser.get("/streams")
    assert page.status == 200
    assert BOB in page.text
    assert (await browser.post("/logout")).location == "/login"
    assert (await browser.get("/streams")).status == 303
