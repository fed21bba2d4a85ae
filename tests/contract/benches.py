"""A worker's inside over every adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.ports import DEAD_LETTERS
from shared.visits import VISITS
from tests.contract import brokers, stores
from tests.fakes import Bench, open_bench


@pytest.fixture(params=["memory", "servers"])
async def bench(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Bench]:
    """Over the in-process adapters, and over those of the servers."""
    if request.param == "memory":
        async with open_bench() as opened:
            yield opened
        return
    broker, store = (request.getfixturevalue(name).url for name in ("rabbitmq_server", "redis_server"))
    async with open_bench(broker=broker, store=store, namespace=namespace, publish_seconds=10) as opened:
        yield opened
    await brokers.remove(broker, namespace, ("misbehaver", VISITS, DEAD_LETTERS))
    await stores.remove(store, namespace)
