"""Logins and guesses on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from accounts.guessing import Guessing, Limit
from accounts.logins import Logins
from accounts.model import DEMO_EMAIL, Account
from accounts.store import Accounts, open_accounts
from accounts.tables import GuessRow, LoginRow
from sensorium.migrate import migrate
from shared.errors import RateLimited
from shared.settings import Settings, read_settings

ANN, PASSWORD = "Ann@example.com", "correct horse"


@pytest.fixture
def settings(database: str) -> Settings:
    return read_settings(
        {}, database=database, secret_key="k" * 32, login_idle_seconds=600, login_seconds=3600, logins_per_account=3, store_seconds=30
    )


@pytest.fixture
async def accounts(settings: Settings) -> AsyncIterator[Accounts]:
    await migrate(settings.database_url)
    async with open_accounts(settings) as opened:
        yield opened


@pytest.fixture
async def ann(accounts: Accounts) -> Account:
    return await accounts.create_account(ANN, PASSWORD)


@pytest.fixture
def logins(accounts: Accounts, settings: Settings) -> Logins:
    return Logins(accounts.database, settings, demo_allowed=False)


async def age(accounts: Accounts, **values: datetime) -> None:
    async with accounts.database.writing() as session:
        await session.execute(update(LoginRow).values(**values))


async def rows(accounts: Accounts, table: type[LoginRow | GuessRow]) -> int:
    async with accounts.database.reading() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def test_a_login_is_found_by_its_word_only(logins: Logins, ann: Account) -> None:
    word, other = await logins.begin(ann), await logins.begin(ann)
    assert word != other
    assert len(word) >= 43
    found = await logins.find(word)
    assert found is not None
    assert found.account == ann
    for wrong in ("", word[:-1], word + "A", word.swapcase(), "\ud800", "x" * 10_000, found.digest.hex()):
        assert await logins.find(wrong) is None


async def test_the_database_does_not_know_the_word(logins: Logins, accounts: Accounts, ann: Account) -> None:
    word = await logins.begin(ann)
    async with accounts.database.reading() as session:
        row = (await session.scalars(select(LoginRow))).one()
    assert word.encode() not in row.digest
    assert len(row.digest) == 32


async def test_a_login_without_use_ends(logins: Logins, accounts: Accounts, ann: Account) -> None:
    word, now = await logins.begin(ann), datetime.now(UTC)
    await age(accounts, expires=now + timedelta(seconds=300))
    found = await logins.find(word)
    assert found is not None
    assert found.expires > now + timedelta(seconds=590)  # use prolongs it
    await age(accounts, expires=now - timedelta(seconds=1))
    assert await logins.find(word) is None


async def test_no_use_prolongs_a_login_for_ever(logins: Logins, accounts: Accounts, ann: Account) -> None:
    word, now = await logins.begin(ann), datetime.now(UTC)
    await age(accounts, begun=now - timedelta(seconds=3500), expires=now + timedelta(seconds=1))
    found = await logins.find(word)
    assert found is not None
    assert found.expires <= now + timedelta(seconds=101)


async def test_what_is_over_is_cleared_away(logins: Logins, accounts: Accounts, ann: Account) -> None:
    await logins.begin(ann)
    await age(accounts, expires=datetime.now(UTC) - timedelta(seconds=1))
    await logins.begin(ann)
    assert await rows(accounts, LoginRow) == 1


async def test_the_oldest_of_too_many_ends(logins: Logins, accounts: Accounts, ann: Account) -> None:
    words = [await logins.begin(ann) for _ in range(5)]
    assert [await logins.find(word) is not None for word in words] == [False, False, True, True, True]
    assert await logins.count(ann) == 3


async def test_signing_out_here_and_elsewhere(logins: Logins, ann: Account) -> None:
    first, second, third = [await logins.begin(ann) for _ in range(3)]
    login = await logins.find(first)
    assert login is not None
    await logins.end_others(login)
    assert [await logins.find(word) is not None for word in (first, second, third)] == [True, False, False]
    await logins.end(login)
    assert await logins.find(first) is None


async def test_a_new_password_ends_every_login_of_the_account_and_no_other(logins: Logins, accounts: Accounts, ann: Account) -> None:
    bob = await accounts.create_account("bob@example.com", PASSWORD)
    mine, his = await logins.begin(ann), await logins.begin(bob)
    await accounts.set_password("ANN@example.com", "another horse")
    assert await logins.find(mine) is None
    assert await logins.find(his) is not None


async def test_logins_end_with_the_account(logins: Logins, accounts: Accounts, ann: Account) -> None:
    word = await logins.begin(ann)
    await accounts.delete_account(ANN)
    assert await logins.find(word) is None


async def test_a_login_of_the_demonstration_is_worth_nothing_elsewhere(logins: Logins, accounts: Accounts, settings: Settings) -> None:
    demo = await accounts.create_account(DEMO_EMAIL, PASSWORD)
    word = await logins.begin(demo)
    assert await logins.find(word) is None
    assert await Logins(accounts.database, settings, demo_allowed=True).find(word) is not None


# Guesses


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guessing(accounts: Accounts, clock: Clock) -> Guessing:
    return Guessing(accounts.database, b"k" * 32, clock=clock)


def limit(subject: str = "ann", tries: int = 10, kind: str = "account") -> Limit:
    return Limit(kind, subject, tries, 900)


async def test_tries_run_out_and_come_back_one_by_one(guessing: Guessing, clock: Clock) -> None:
    for _ in range(10):
        await guessing.charge(limit())
    with pytest.raises(RateLimited) as caught:
        await guessing.charge(limit())
    assert caught.value.retry_after == pytest.approx(90)
    clock.now += 90
    await guessing.charge(limit())
    with pytest.raises(RateLimited):
        await guessing.charge(limit())
    await guessing.charge(limit("bob"))
    await guessing.charge(limit(kind="address"))


async def test_a_volley_gets_no_further_than_one_after_the_other(guessing: Guessing) -> None:
    outcomes = await asyncio.gather(*(guessing.charge(limit()) for _ in range(40)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(RateLimited) == 30


async def test_when_one_limit_is_reached_nothing_is_taken_from_the_others(guessing: Guessing) -> None:
    await guessing.charge(limit("bob", tries=1))
    for _ in range(20):
        with pytest.raises(RateLimited):
            await guessing.charge(limit("192.0.2.1", kind="address"), limit("bob", tries=1))
    for _ in range(10):
        await guessing.charge(limit("192.0.2.1", kind="address"))


async def test_what_was_right_is_given_back(guessing: Guessing) -> None:
    for _ in range(100):
        await guessing.charge(limit())
        await guessing.refund(limit())


async def test_a_restart_and_another_gateway_count_on(accounts: Accounts, settings: Settings, clock: Clock) -> None:
    for _ in range(10):
        await Guessing(accounts.database, b"k" * 32, clock=clock).charge(limit())
    async with open_accounts(settings) as again:
        with pytest.raises(RateLimited):
            await Guessing(again.database, b"k" * 32, clock=clock).charge(limit())


async def test_what_is_counted_is_bounded_by_time_and_names_nobody(guessing: Guessing, accounts: Accounts, clock: Clock) -> None:
    for number in range(50):
        await guessing.charge(limit(f"guest{number}@example.com"))
    assert await rows(accounts, GuessRow) == 50
    async with accounts.database.reading() as session:
        assert not [row for row in await session.scalars(select(GuessRow)) if b"guest" in row.subject]
    clock.now += 91
    await guessing.charge(limit())
    assert await rows(accounts, GuessRow) == 1


@pytest.mark.parametrize("subject", ["", "\x00", "\ud800", "a:b*", "' OR 1=1 --", "x" * 100_000])
async def test_any_subject_can_be_counted(guessing: Guessing, subject: str) -> None:
    await guessing.charge(limit(subject, tries=1))
    with pytest.raises(RateLimited):
        await guessing.charge(limit(subject, tries=1))
