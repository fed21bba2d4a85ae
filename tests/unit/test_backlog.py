"""When a full queue will have room, by what its workers say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from gateway.jobs.backlog import Backlog
from shared.errors import StoreAway
from shared.facts import ServedFacts, WorkerFacts
from shared.settings import Settings
from workers.catalog import ServiceType, load_catalog

DUMMY: ServiceType = load_catalog(None)["dummy", 1]


class Registry:
    """Workers of these rates, or a store that is away; counts the questions."""

    def __init__(self, *rates: float, away: bool = False) -> None:
        self.rates, self.away, self.asked = rates, away, 0

    async def announce(self, worker: WorkerFacts) -> None: ...

    async def withdraw(self, worker_id: str) -> None: ...

    async def workers(self) -> Sequence[WorkerFacts]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise StoreAway
        services = [(ServedFacts("dummy", 1, "dummy", rate=rate), ServedFacts("other", 1, "other", rate=1000)) for rate in self.rates]
        return [WorkerFacts(str(n), "host", 1, "0", "cpu", 2, 1.0, time.time(), served) for n, served in enumerate(services)]


def backlog(registry: Registry, **settings: float) -> Backlog:
    return Backlog(registry, Settings.model_validate({"queue_limit": 600, "retry_after_seconds": 7, "deadline_seconds": 100, **settings}))


@pytest.mark.parametrize(("rates", "seconds"), [((1.0, 2.0), 20), ((6.0,), 10), ((0.1,), 100), ((0.0,), 7), ((), 7)])
async def test_a_tenth_of_it_must_be_done_before_there_is_room(rates: tuple[float, ...], seconds: float) -> None:
    assert (await backlog(Registry(*rates)).full(DUMMY)).retry_after == pytest.approx(seconds)


async def test_it_says_how_long_all_of_it_takes() -> None:
    assert (await backlog(Registry(3.0)).full(DUMMY)).message == "the queue of dummy is full: what waits takes about 200 s"


async def test_a_store_that_is_away_tells_nothing() -> None:
    assert (await backlog(Registry(away=True)).full(DUMMY)).retry_after == 7


async def test_many_who_are_refused_cause_one_question() -> None:
    registry = Registry(1.0)
    refusals = backlog(registry, facts_seconds=60)
    await asyncio.gather(*(refusals.full(DUMMY) for _ in range(100)))
    assert registry.asked == 1
