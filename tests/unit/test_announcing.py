"""A worker process says what it does until it ends, and is another one when it comes back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import pytest

from shared.adapters.memory.store import open_stores
from shared.errors import StoreAway
from shared.facts import ServedFacts, UnreadableFacts, WorkerFacts, decode_letter, decode_worker
from shared.ports import Stores
from shared.settings import Settings
from tests.fakes import IDS
from workers.runtime.announcing import Announcer

SERVED = ServedFacts("dummy", 1, "dummy", ("yunet",))


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    async with open_stores(Settings(), IDS.shard) as opened:
        yield opened


async def until(check: Callable[[list[WorkerFacts]], bool], stores: Stores) -> list[WorkerFacts]:
    async with asyncio.timeout(10):
        while not check(found := await stores.workers.workers()):
            await asyncio.sleep(0.01)
    return found


async def test_it_is_announced_again_and_again_and_withdrawn(stores: Stores) -> None:
    announcer = Announcer(stores.workers, 0.01, "cpu", 2, "0.1")
    announcer.start(lambda: [SERVED])
    (first,) = await until(bool, stores)
    assert (first.pid, first.device, first.threads, first.release, first.services) == (os.getpid(), "cpu", 2, "0.1", (SERVED,))
    (later,) = await until(lambda found: found[0].at > first.at, stores)
    assert (later.id, later.started) == (first.id, first.started)
    await announcer.stop()
    assert await stores.workers.workers() == []


async def test_one_that_comes_back_is_another_one(stores: Stores) -> None:
    announcers = [Announcer(stores.workers, 1, "cpu", 2, "0.1") for _ in range(2)]
    for announcer in announcers:
        announcer.start(lambda: [SERVED])
    assert len(await until(lambda found: len(found) == 2, stores)) == 2
    for announcer in announcers:
        await announcer.stop()


async def test_a_store_that_is_away_is_told_later(stores: Stores) -> None:
    class Away:
        left = 3

        async def announce(self, worker: WorkerFacts) -> None:
            if self.left:
                self.left -= 1
                raise StoreAway
            await stores.workers.announce(worker)

        async def withdraw(self, worker_id: str) -> None:
            raise StoreAway

        async def workers(self) -> list[WorkerFacts]:
            return []

    announcer = Announcer(Away(), 0.01, "cpu", 2, "0.1")
    announcer.start(lambda: [SERVED])
    await until(bool, stores)
    await announcer.stop()


async def test_stopping_what_never_began_is_nothing(stores: Stores) -> None:
    await Announcer(stores.workers, 0.01, "cpu", 2, "0.1").stop()


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b'{"id": 1}', b'{"services": 3}'])
def test_what_nobody_says_is_not_read(data: bytes) -> None:
    for decode in (decode_worker, decode_letter):
        with pytest.raises(UnreadableFacts):
            decode(data)


def test_what_a_newer_version_says_beside_is_ignored() -> None:
    facts = WorkerFacts("w", "h", 1, "9", "cpu", 1, 1.0, 2.0, (SERVED,))
    newer = facts.encode().replace(b'"id":', b'"mood":"good","id":').replace(b'"batch":', b'"colour":"red","batch":')
    assert decode_worker(newer) == facts
