"""A worker's inside over every adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import pytest

from shared.ports import DEAD_LETTERS
from shared.visits import VISITS
from tests.contract import brokers, stores
from tests.fakes import Bench, open_bench

OpenBench: TypeAlias = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture(params=["memory", "servers"])
async def open_bench_with(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[OpenBench]:
    """``open_bench_with(**settings)``: over the in-process adapters, and over those of the servers."""
    if request.param == "memory":
        yield open_bench
        return
    broker, store = (request.getfixturevalue(name).url for name in ("rabbitmq_server", "redis_server"))
    servers = {"broker": broker, "store": store, "namespace": namespace, "publish_seconds": 10}
    yield lambda **changes: open_bench(**{**servers, **changes})
    await brokers.remove(broker, namespace, ("misbehaver", VISITS, DEAD_LETTERS))
    await stores.remove(store, namespace)


@pytest.fixture
async def bench(open_bench_with: OpenBench) -> AsyncIterator[Bench]:
    """With the settings as they are by default."""
    async with open_bench_with() as opened:
        yield opened
