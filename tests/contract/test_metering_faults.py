"""Plans while the store loses what it had, or does not answer: what customers of each plan see, and what is forgotten at most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import redis.asyncio

from accounts.credentials import Tenant
from accounts.model import Plan
from accounts.store import Accounts, open_accounts
from gateway.jobs.metering import Metering
from sensorium.migrate import migrate
from shared.errors import QuotaExceeded, StoreAway
from shared.settings import read_settings
from tests.contract.meters import Meters, redis_meters
from tests.servers import Server

ANN = "ann@example.com"


@dataclass
class Gateways:
    """Two gateways' metering over one Redis, which is the test's own, and a stream of each plan with four seconds."""

    one: Metering
    other: Metering
    meters: Meters
    accounts: Accounts
    developer: Tenant
    paid: Tenant

    async def use(self, tenant: Tenant, seconds: int) -> None:
        for second in range(seconds):
            await (self.one if second % 2 else self.other).admit(tenant)
            await self.meters.time.pass_(1)

    async def left(self, tenant: Tenant) -> int:
        """Seconds until a refusal; every second is tried at both gateways."""
        for seconds in range(100):
            try:
                for gateway in (self.one, self.other):
                    await gateway.admit(tenant)
            except QuotaExceeded:
                return seconds
            await self.meters.time.pass_(1)
        raise AssertionError("never refused")


@pytest.fixture
async def gateways(own_redis: Server, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateways]:
    settings = read_settings({}, database=f"sqlite+aiosqlite:///{tmp_path}/it.db", secret_key="k" * 32, store_seconds=2)
    await migrate(settings.database_url)
    async with open_accounts(settings) as accounts, redis_meters(own_redis.url, namespace, monkeypatch) as meters:
        await accounts.create_account(ANN, "correct horse")
        for plan in Plan:
            await accounts.plans.set_limits(plan, 4, None)
        secret = await accounts.streams.add(ANN, "Door")
        developer = await accounts.credentials.tenant(secret.client_id)
        assert developer is not None
        limits = await accounts.plans.limits()
        one, other = (Metering(meter, accounts.ledger, settings, clock=lambda: meters.time.now) for meter in (meters.one, meters.other))
        paid = replace(developer, allowance=limits[Plan.ENTERPRISE].allowance)
        yield Gateways(one, other, meters, accounts, developer, paid)


async def flush(server: Server, gateways: Gateways) -> None:
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.flushall()
    await gateways.meters.time.pass_(1)


async def test_a_store_that_lost_everything_goes_on_from_what_was_saved(gateways: Gateways, own_redis: Server) -> None:
    await gateways.use(gateways.developer, 3)
    await gateways.one.save()
    await flush(own_redis, gateways)
    assert await gateways.left(gateways.developer) == 1
    await gateways.other.save()
    await flush(own_redis, gateways)
    assert await gateways.left(gateways.developer) == 0


async def test_at_most_what_was_not_saved_is_forgotten(gateways: Gateways, own_redis: Server) -> None:
    await gateways.use(gateways.developer, 2)
    await gateways.one.save()
    await gateways.use(gateways.developer, 1)
    await flush(own_redis, gateways)
    assert await gateways.left(gateways.developer) == 2
    await asyncio.gather(gateways.one.save(), gateways.other.save())
    usage = await gateways.accounts.ledger.of_stream(gateways.developer.id, gateways.meters.time.now)
    assert usage is not None
    assert usage.used == 4


async def test_a_store_that_is_away_is_closed_for_the_free_and_open_for_the_paid(gateways: Gateways, own_redis: Server) -> None:
    await gateways.use(gateways.developer, 1)
    await asyncio.to_thread(own_redis.stop)
    gateways.meters.time.now += 1
    with pytest.raises(StoreAway):
        await gateways.one.admit(gateways.developer)
    for _ in range(20):
        gateways.meters.time.now += 1
        await gateways.other.admit(gateways.paid)
    await asyncio.to_thread(own_redis.start)
    await gateways.meters.time.reconnect()
    await gateways.meters.time.pass_(1)
    assert await gateways.left(gateways.developer) in (3, 4)  # whether or not the server wrote down what was not saved yet
