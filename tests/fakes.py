"""Small real parts for tests: a worker process's inside over the in-process adapters, and jobs for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sensorium.processes.adapters import open_broker, open_stores
from shared.events import Event
from shared.job_ids import JobIds
from shared.jobs import Job, Turn, owner_of
from shared.ports import Broker, Message, Stores
from shared.settings import Settings, read_settings
from workers.catalog import load_catalog
from workers.contract import MediaLimits, Service
from workers.runtime.compute import Computer
from workers.runtime.policy import Policy
from workers.runtime.runner import Runner

MISBEHAVING = Path(__file__).parent / "misbehaving"
TENANT = "tenant-a"
IDS = JobIds(b"k" * 32, 7)


def misbehaver() -> Service[Any, Any]:
    """The service of `tests/misbehaving`, loaded as a worker would."""
    return load_catalog(MISBEHAVING)["misbehaver", 1]()


def make_job(service: str = "misbehaver", turn: Turn | None = None, lasts: float = 30.0, **parameters: Any) -> Job:
    now = time.time()
    job_id = IDS.make(owner_of(TENANT, service, 1), synchronous=False)
    return Job(job_id, service, 1, TENANT, now, now + lasts, parameters, turn=turn)


@dataclass
class Bench:
    """A broker, stores, and as many runners of a service as a test starts."""

    settings: Settings
    broker: Broker
    stores: Stores
    runners: list[Runner] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    async def start_runner(self, service: Service[Any, Any] | None = None, **policy: Any) -> Runner:
        computer = Computer(service or misbehaver(), MediaLimits(), {})
        chosen = Policy(**{"retry_pause": 0.01, "gap_seconds": 5.0, **policy})
        runner = Runner(computer, self.broker, self.stores, chosen, ThreadPoolExecutor(chosen.slots), self.stuck.append)
        await runner.start()
        self.runners.append(runner)
        return runner

    async def publish(self, job: Job) -> str:
        await self.broker.publish(Message(job.service, job.encode(), job.id))
        return job.id

    async def final(self, job_id: str, seconds: float = 10.0) -> Event:
        """The final event of a job, waited for."""
        async with asyncio.timeout(seconds), self.stores.results.follow(job_id) as events:
            async for _, event in events:
                if event.final:
                    return event
        raise AssertionError("the events ended without a final one")

    async def do(self, job: Job) -> Event:
        """Publish a job and wait for its end."""
        async with self.stores.results.follow(job.id) as events:
            await self.publish(job)
            async with asyncio.timeout(10):
                async for _, event in events:
                    if event.final:
                        return event
        raise AssertionError("the events ended without a final one")


@asynccontextmanager
async def open_bench(**settings: Any) -> AsyncIterator[Bench]:
    """A bench over the in-process adapters, or over those of ``broker`` and ``store``."""
    chosen = read_settings({}, **settings)
    async with open_broker(chosen) as broker, open_stores(chosen, IDS.shard) as stores:
        bench = Bench(chosen, broker, stores)
        try:
            yield bench
        finally:
            for runner in bench.runners:
                await runner.stop()
