"""Which jobs are let in, how seldom anybody is asked about it, and what happens while nobody can say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from accounts.credentials import Tenant
from accounts.model import Plan
from accounts.store import Accounts, open_accounts
from accounts.tables import UsageRow
from database.engine import Database
from gateway.http.problem import problem_response
from gateway.jobs.metering import Metering
from sensorium.migrate import migrate
from shared.adapters.memory.meter import MemoryMeter
from shared.errors import QuotaExceeded, StoreAway
from shared.settings import Settings, read_settings
from shared.usage import DAY_SECONDS, Allowance, Count, DayOfUse, Known, Metered, day_of

ANN = "ann@example.com"
#: 2024-02-29 at noon.
NOON = 1_709_208_000.0
TODAY = day_of(NOON)


class Clock:
    """Stands still; ends whoever looks at it for ever, since nothing else would."""

    def __init__(self) -> None:
        self.now, self._looks = NOON, 0

    def __call__(self) -> float:
        self._looks += 1
        assert self._looks < 1_000_000
        return self.now


class SlowMeter(MemoryMeter):
    """Counts its questions, answers when it is let, and fails when it is told to."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.asked, self.away = 0, False
        self.open = asyncio.Event()
        self.open.set()

    async def count(self, who: Metered, allowance: Allowance) -> Count:
        self.asked += 1
        answer = None if self.away else await super().count(who, allowance)
        await self.open.wait()
        if answer is None:
            raise StoreAway
        return answer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({}, database=f"sqlite+aiosqlite:///{tmp_path}/accounts.db", secret_key="k" * 32)


@pytest.fixture
async def accounts(settings: Settings) -> AsyncIterator[Accounts]:
    await migrate(settings.database_url)
    async with open_accounts(settings) as opened:
        yield opened


@pytest.fixture
async def tenant(accounts: Accounts) -> Tenant:
    """A stream of the plan developer, with three seconds a month."""
    await accounts.create_account(ANN, "correct horse")
    await accounts.plans.set_limits(Plan.DEVELOPER, 3, 1)
    secret = await accounts.streams.add(ANN, "Door")
    found = await accounts.credentials.verify(secret.client_id, secret.access_token)
    assert found is not None
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def meter(clock: Clock) -> SlowMeter:
    return SlowMeter(clock)


@pytest.fixture
async def metering(meter: SlowMeter, accounts: Accounts, settings: Settings, clock: Clock) -> Metering:
    return Metering(meter, accounts.ledger, settings, clock=clock)


async def test_jobs_of_a_counted_second_ask_nobody(metering: Metering, meter: SlowMeter, tenant: Tenant, clock: Clock) -> None:
    await metering.admit(tenant)
    asked = meter.asked
    for _ in range(100):
        clock.now += 0.0099
        await metering.admit(tenant)
    assert meter.asked == asked
    clock.now += 0.02
    await metering.admit(tenant)
    assert meter.asked == asked + 1


async def test_what_is_granted_ends_with_the_second_that_was_counted(
    metering: Metering, meter: SlowMeter, tenant: Tenant, clock: Clock
) -> None:
    clock.now += 0.625
    await metering.admit(tenant)
    clock.now += 0.25
    await metering.admit(tenant)
    clock.now += 0.25
    await metering.admit(tenant)
    assert (await meter.unsaved(0))[0].seconds == 2


async def test_a_volley_asks_once(metering: Metering, meter: SlowMeter, tenant: Tenant, clock: Clock) -> None:
    await metering.admit(tenant)
    clock.now += 1
    meter.open.clear()
    jobs = [asyncio.ensure_future(metering.admit(tenant)) for _ in range(50)]
    asked = meter.asked
    while meter.asked == asked:
        await asyncio.sleep(0)
    jobs[0].cancel()
    meter.open.set()
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert not any(isinstance(outcome, BaseException) for outcome in outcomes[1:])
    assert meter.asked == asked + 1


async def test_who_waited_for_another_second_is_counted_in_his_own(
    metering: Metering, meter: SlowMeter, tenant: Tenant, clock: Clock
) -> None:
    await metering.admit(tenant)
    clock.now += 1
    meter.open.clear()
    jobs = [asyncio.ensure_future(metering.admit(tenant)) for _ in range(5)]
    asked = meter.asked
    while meter.asked == asked:
        await asyncio.sleep(0)
    clock.now += 1  # the answer takes longer than the second that it counted
    meter.open.set()
    await asyncio.gather(*jobs)
    assert meter.asked == asked + 2
    assert (await meter.unsaved(0))[0].seconds == 3


async def test_who_comes_right_after_an_answer_that_is_over_is_counted_too(
    metering: Metering, meter: SlowMeter, tenant: Tenant, clock: Clock
) -> None:
    """Nothing of the answer is remembered yet when he asks, and its second has passed."""
    await metering.admit(tenant)
    clock.now += 1
    meter.open.clear()
    asked = meter.asked
    first = asyncio.ensure_future(metering.admit(tenant))
    while meter.asked == asked:
        await asyncio.sleep(0)

    async def come_behind() -> None:
        await meter.open.wait()  # which the meter's question began to do before
        await metering.admit(tenant)

    second = asyncio.ensure_future(come_behind())
    await asyncio.sleep(0)
    clock.now += 1
    meter.open.set()
    await asyncio.gather(first, second)
    assert meter.asked == asked + 2


async def test_over_the_plan_is_429_until_the_renewal(metering: Metering, tenant: Tenant, clock: Clock, meter: SlowMeter) -> None:
    for left in (2, 1, 0):
        grant = await metering.admit(tenant)
        assert grant.fields["RateLimit-Policy"] == f'"developer";q=3;w={29 * DAY_SECONDS}'
        assert grant.fields["RateLimit"] == f'"developer";r={left};t={round(DAY_SECONDS * 1.5 - clock.now + NOON - DAY_SECONDS)}'
        clock.now += 1
    with pytest.raises(QuotaExceeded) as caught:
        await metering.admit(tenant)
    response = problem_response(caught.value)
    assert (response.status, response.headers["Retry-After"]) == (429, str(DAY_SECONDS // 2 - 3))
    assert response.headers["RateLimit"] == f'"developer";r=0;t={DAY_SECONDS // 2 - 3}'
    assert b'"urn:sensorium:problem:quota-exceeded"' in response.body  # type: ignore[operator]
    assert "2024-03-01T00:00:00+00:00" in caught.value.message
    asked = meter.asked
    for _ in range(50):
        with pytest.raises(QuotaExceeded):
            await metering.admit(tenant)
    assert meter.asked == asked
    clock.now = NOON + DAY_SECONDS / 2
    await metering.admit(tenant)


async def test_a_larger_plan_lets_in_again(metering: Metering, tenant: Tenant, clock: Clock) -> None:
    for _ in range(3):
        await metering.admit(tenant)
        clock.now += 1
    with pytest.raises(QuotaExceeded):
        await metering.admit(tenant)
    clock.now += 1
    await metering.admit(replace(tenant, allowance=replace(tenant.allowance, seconds=None)))


async def test_use_survives_the_store_through_the_database(
    metering: Metering, tenant: Tenant, clock: Clock, accounts: Accounts, settings: Settings
) -> None:
    for _ in range(2):
        await metering.admit(tenant)
        clock.now += 1
    await metering.save()
    await metering.admit(tenant)
    clock.now += 1
    fresh = Metering(MemoryMeter(clock), accounts.ledger, settings, clock=clock)
    await fresh.admit(tenant)  # the third second was not saved when the store lost it
    clock.now += 1
    with pytest.raises(QuotaExceeded):
        await fresh.admit(tenant)
    await fresh.save_last()
    await metering.save_last()
    used = await accounts.ledger.of_stream(tenant.id, NOON)
    assert used is not None
    assert (used.used, used.left) == (3, 0)


async def test_a_stream_made_anew_begins_where_the_account_stands(
    metering: Metering, tenant: Tenant, clock: Clock, accounts: Accounts, settings: Settings
) -> None:
    for _ in range(3):
        await metering.admit(tenant)
        clock.now += 1
    another = replace(tenant, id="00000000-0000-4000-8000-000000000001")
    with pytest.raises(QuotaExceeded):
        await metering.admit(another)
    await metering.save()
    with pytest.raises(QuotaExceeded):
        await Metering(MemoryMeter(clock), accounts.ledger, settings, clock=clock).admit(another)


async def test_while_nobody_can_count_paid_plans_go_on_and_others_do_not(
    metering: Metering, meter: SlowMeter, tenant: Tenant, clock: Clock
) -> None:
    meter.away = True
    with pytest.raises(StoreAway) as caught:
        await metering.admit(tenant)
    assert problem_response(caught.value).status == 503
    paid = replace(tenant, allowance=replace(tenant.allowance, plan="enterprise", paid=True))
    asked = meter.asked
    for _ in range(50):
        assert (await metering.admit(paid)).fields == {}
    assert meter.asked == asked + 1
    meter.away = False
    clock.now += 1
    assert (await metering.admit(paid)).fields


async def test_a_database_that_is_away_is_missed_by_new_streams_only(
    meter: SlowMeter, tenant: Tenant, clock: Clock, settings: Settings, tmp_path: Path
) -> None:
    broken = read_settings({}, database=f"sqlite+aiosqlite:///{tmp_path}/no/such.db", secret_key="k" * 32)
    async with open_accounts(broken) as away:
        metering = Metering(meter, away.ledger, settings, clock=clock)
        with pytest.raises(StoreAway):
            await metering.admit(tenant)
        await meter.begin(Metered(tenant.account, tenant.id), Known(TODAY))
        clock.now += 1
        await metering.admit(tenant)
        with pytest.raises(StoreAway):
            await metering.save()
        await metering.save_last()
    assert await meter.unsaved(0) == [DayOfUse(tenant.account, tenant.id, TODAY, 1)]


async def test_what_is_remembered_is_bounded(metering: Metering, meter: SlowMeter, tenant: Tenant) -> None:
    own = replace(tenant, allowance=Allowance("own", None, "day", "stream", paid=True))
    for number in range(10_050):
        await meter.begin(Metered(own.account, f"stream{number}"), Known(TODAY))
        await metering.admit(replace(own, id=f"stream{number}"))
    assert len(metering._grants) == 10_000


async def test_old_days_are_forgotten(accounts: Accounts, tenant: Tenant, settings: Settings) -> None:
    days = [DayOfUse(tenant.account, tenant.id, day, 5) for day in (TODAY - 401, TODAY - 400, TODAY)]
    await accounts.ledger.save(days)
    await accounts.ledger.forget(TODAY - settings.usage_days)
    database = Database(settings.database_url, 5)
    async with database.reading() as session:
        kept = [await session.get(UsageRow, (tenant.id, one.day)) for one in days]
    await database.close()
    assert [row is not None for row in kept] == [False, True, True]
