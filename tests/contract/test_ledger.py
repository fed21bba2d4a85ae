"""What was used of the plans, on every database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from accounts.errors import LimitInvalid, StreamLimitReached
from accounts.model import Account, Plan
from accounts.plans import DEFAULTS
from accounts.store import Accounts, open_accounts
from sensorium.migrate import migrate
from shared.privacy import ANALYSES
from shared.usage import DayOfUse, Known, Metered, day_of
from tests.contract.test_accounts import settings_for

ANN, BOB, PASSWORD = "ann@example.com", "bob@example.com", "correct horse"
#: 2024-02-29 at noon.
NOON = 1_709_208_000.0
TODAY = day_of(NOON)


@dataclass
class House:
    accounts: Accounts
    ann: Account
    bob: Account
    door: str
    windows: list[str]

    async def use(self, account: Account, stream: str, seconds: int, day: int = TODAY) -> None:
        await self.accounts.ledger.save([DayOfUse(account.id, stream, day, seconds)])


@pytest.fixture
async def house(database: str) -> AsyncIterator[House]:
    """Ann has the plan developer and a door, Bob the plan enterprise and two windows."""
    await migrate(database)
    async with open_accounts(settings_for(database)) as accounts:
        ann = await accounts.create_account(ANN, PASSWORD)
        bob = await accounts.create_account(BOB, PASSWORD, Plan.ENTERPRISE)
        door = (await accounts.streams.add(ANN, "Door")).client_id
        windows = [(await accounts.streams.add(BOB, f"Window {number}")).client_id for number in (1, 2)]
        yield House(accounts, ann, bob, door, windows)


async def test_what_is_known_of_a_stream_and_its_account(house: House) -> None:
    first, second = house.windows
    for stream, day, seconds in ((first, TODAY, 5), (first, TODAY - 1, 7), (second, TODAY, 11), (first, TODAY - 29, 100)):
        await house.use(house.bob, stream, seconds, day)
    await house.use(house.ann, house.door, 1000)
    known = house.accounts.ledger.known
    assert await known(Metered(house.bob.id, first), NOON) == Known(TODAY, 5, 12, 16, 23)
    assert await known(Metered(house.bob.id, "gone"), NOON) == Known(TODAY, 0, 0, 16, 23)
    assert await known(Metered("nobody", "nothing"), NOON) == Known(TODAY)


async def test_saving_again_or_late_or_at_once_changes_nothing(house: House) -> None:
    told = [
        DayOfUse(house.bob.id, stream, day, seconds) for stream in house.windows for day in range(TODAY - 3, TODAY) for seconds in (1, 2, 3)
    ]
    random.Random(7).shuffle(told)
    chunks = [told[start : start + 5] for start in range(0, len(told), 5)]
    await asyncio.gather(*(house.accounts.ledger.save(chunk) for chunk in chunks + chunks))
    found = await house.accounts.ledger.known(Metered(house.bob.id, house.windows[0]), NOON)
    assert (found.stream_month, found.account_month) == (9, 18)


async def test_use_of_accounts_that_are_gone_is_dropped_and_holds_nobody_up(house: House) -> None:
    await house.use(house.ann, house.door, 10)
    await house.accounts.delete_account(ANN)
    await house.accounts.ledger.save([DayOfUse(house.ann.id, house.door, TODAY, 11), DayOfUse(house.bob.id, house.windows[0], TODAY, 4)])
    assert await house.accounts.ledger.of_stream(house.door, NOON) is None
    assert await house.accounts.ledger.of_account(house.ann.id, NOON) is None
    used = await house.accounts.ledger.of_stream(house.windows[0], NOON)
    assert used is not None
    assert used.used == 4


async def test_a_plan_of_streams_counts_each_by_the_day(house: House) -> None:
    first, second = house.windows
    await house.use(house.bob, first, 60)
    await house.use(house.bob, second, 100)
    await house.use(house.bob, first, 1000, TODAY - 1)
    usage = await house.accounts.ledger.of_stream(first, NOON)
    assert usage is not None
    assert (usage.used, usage.left, usage.renewed) == (60, 12 * 3600 - 60, datetime(2024, 3, 1, tzinfo=UTC))
    account = await house.accounts.ledger.of_account(house.bob.id, NOON)
    assert account is not None
    assert account.usage.used == 160
    assert [(one.stream.client_id, one.used) for one in account.streams] == [(first, 60), (second, 100)]


async def test_a_plan_of_accounts_counts_streams_that_are_gone(house: House) -> None:
    await house.use(house.ann, house.door, 60)
    await house.use(house.ann, "a stream that was deleted", 100, TODAY - 28)
    usage = await house.accounts.ledger.of_stream(house.door, NOON)
    assert usage is not None
    assert (usage.used, usage.left) == (160, 3 * 3600 - 160)
    account = await house.accounts.ledger.of_account(house.ann.id, NOON)
    assert account is not None
    assert (account.usage.used, [one.used for one in account.streams]) == (160, [60])


async def test_all_accounts_by_pages(house: House) -> None:
    await house.use(house.ann, house.door, 60)
    await house.use(house.bob, house.windows[1], 100)
    ledger = house.accounts.ledger
    pages = [await ledger.of_all(NOON, page=page, size=1) for page in (1, 2, 3)]
    assert [[(one.account.email, one.usage.used) for one in found] for found, _ in pages] == [[(ANN, 60)], [(BOB, 100)], []]
    assert {total for _, total in pages} == {2}
    everybody, _ = await ledger.of_all(NOON)
    assert [one.usage.allowance for one in everybody] == [DEFAULTS[plan].allowance for plan in Plan]


async def test_operators_set_the_limits_of_a_plan(house: House) -> None:
    plans = house.accounts.plans
    assert await plans.limits() == dict(DEFAULTS)
    await plans.set_limits(Plan.DEVELOPER, 600, 2)
    await plans.set_limits(Plan.ENTERPRISE, None, None)
    limits = await plans.limits()
    assert (limits[Plan.DEVELOPER].allowance.seconds, limits[Plan.DEVELOPER].streams) == (600, 2)
    assert limits[Plan.ENTERPRISE].allowance.seconds is None
    secret = await house.accounts.streams.add(ANN, "Window")
    tenant = await house.accounts.credentials.verify(secret.client_id, secret.access_token)
    assert tenant is not None
    assert tenant.allowance == limits[Plan.DEVELOPER].allowance
    with pytest.raises(StreamLimitReached, match="2 streams"):
        await house.accounts.streams.add(ANN, "Roof")
    for seconds, streams in ((0, 1), (-1, 1), (10, 0), (2**31, 1)):
        with pytest.raises(LimitInvalid):
            await plans.set_limits(Plan.DEVELOPER, seconds, streams)


async def test_what_a_stream_has_switched_off_comes_with_its_proofs(house: House) -> None:
    accounts = house.accounts
    secret = await accounts.streams.add(BOB, "Roof")
    tenant, proof = (
        await accounts.credentials.verify(secret.client_id, secret.access_token),
        await accounts.credentials.proof_of(secret.client_id),
    )
    assert tenant is not None
    assert proof is not None
    assert tenant.off == proof.off == ()
    stream = (await accounts.streams.of(BOB))[2]
    await accounts.streams.set_off(stream, ["gender", "age"])
    tenant, proof = (
        await accounts.credentials.verify(secret.client_id, secret.access_token),
        await accounts.credentials.proof_of(secret.client_id),
    )
    assert tenant is not None
    assert proof is not None
    assert tenant.off == proof.off == ("age", "gender")
    assert [one.off for one in await accounts.streams.of(BOB)] == [(), (), ("age", "gender")]
    await accounts.streams.set_off(stream, ANALYSES[1:])
    assert (await accounts.streams.of(BOB))[2].off == ANALYSES[1:]
