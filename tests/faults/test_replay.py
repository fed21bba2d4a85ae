"""The same recorded stream gives the same visits, whatever happens between the camera and the database."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from analytics.queries import Audience
from database.engine import Database
from shared.visits import Visit
from tests.contract.brokers import until
from tests.faults.doubling import doubling
from tests.integration.processes import System, poll_job, post_job, running_system
from tests.servers import RabbitMQ, Server
from tests.services.helpers import jpeg
from tests.services.scenes import Actor, render, sprite

pytestmark = pytest.mark.timeout(500)

SERVICE = "scene_analysis"
START = datetime(2024, 5, 1, 12, tzinfo=UTC)
FRAMES = 60
BEGINNING = (0, round((START.timestamp() + 3600) * 1000))


@cache
def stream() -> list[bytes]:
    """One walks through, behind a pillar; another comes, stops, and is still there at the end."""
    walker = Actor(sprite("astronaut"), lambda time: (180 * time - 60, 150))
    stander = Actor(sprite("other"), lambda time: (750 - 200 * min(time - 1, 2), 170) if time > 1 else None)
    return [jpeg(render([stander, walker], number / 10, pillar=(230, 300)), 85) for number in range(FRAMES)]


@pytest.fixture
def system(tmp_path: Path, own_rabbitmq: RabbitMQ, own_redis: Server, namespace: str) -> Iterator[System]:
    settings = {
        "BROKER": own_rabbitmq.url,
        "STORE": own_redis.url,
        "NAMESPACE": namespace,
        "DATABASE": f"sqlite+aiosqlite:///{tmp_path / 'accounts.db'}",
        "MODEL_THREADS": "1",
        "BATCH": "2",  # as on a GPU: the end of the first session shares a batch with frames of the second
        "SESSION_SECONDS": "5",
        "VISIT_DAYS": "0",
    }
    with running_system(tmp_path, settings) as made:
        made.provision()
        yield made


class Replay:
    """The stream sent once, in a session of its own."""

    def __init__(self, client: aiohttp.ClientSession, in_flight: int) -> None:
        self._client = client
        self._free = asyncio.Semaphore(in_flight)
        self._session = uuid.uuid4().hex
        self.entities: set[str] = set()
        self.jobs: set[str] = set()

    async def run(self, halfway: Any = None) -> None:
        """Every frame, with at most so many in flight; ``halfway`` is called after half of them were accepted."""
        followers = []
        for number, frame in enumerate(stream()):
            await self._free.acquire()
            parameters = {
                "image": "attachment://frame",
                "timestamp": (START + timedelta(seconds=number / 10)).isoformat(),
                "store": True,
                "state": {"session_id": self._session},
            }
            status, job = await post_job(self._client, SERVICE, parameters, {"attachment://frame": frame})
            assert status == 202, job
            self.jobs.add(job["url"].rpartition("/")[2])
            followers.append(asyncio.create_task(self._follow(job["url"])))
            if number == FRAMES // 2 and halfway is not None:
                halfway()
        await asyncio.gather(*followers)

    async def _follow(self, url: str) -> None:
        answer = await poll_job(self._client, url, 240)
        self._free.release()
        assert answer["status"] == 200, answer
        assert "gap_frames" not in answer
        self.entities |= set(answer["entities"])


async def recorded(system: System, entities: set[str]) -> list[Visit]:
    """The visits of these entities, once all of them are closed, without their ids."""
    database = Database(system.environment["SENSORIUM_DATABASE"], 10)
    found: list[Visit] = []

    async def are_closed() -> bool:
        visits = await Audience(database).visits(system.credentials[0], *BEGINNING, offset=0, limit=100)
        found[:] = [visit for visit in visits if visit.id in entities]
        return len(found) == len(entities) and all(visit.closed for visit in found)

    try:
        await until(are_closed, 60)
    finally:
        await database.close()
    return sorted((replace(visit, id="") for visit in found), key=lambda visit: (visit.started, visit.view_seconds))


async def test_the_same_stream_gives_the_same_visits(system: System, own_rabbitmq: RabbitMQ, namespace: str) -> None:
    """Once frame by frame; then ten in flight, each delivered twice, and one of two workers killed half-way."""
    gateway, recorder = await system.gateway(), system.start("recorder", port_option="--health-port")
    workers = [system.start_worker(SERVICE), system.start_worker(SERVICE)]
    await asyncio.gather(recorder.ready(), *(worker.ready() for worker in workers))
    async with system.client(gateway) as client:
        plain, hard = Replay(client, 1), Replay(client, 10)
        await plain.run()
        async with doubling(own_rabbitmq, f"{namespace}.{SERVICE}") as doubled:
            await hard.run(halfway=workers[0].kill)
        assert doubled.ids >= hard.jobs
    wanted = await recorded(system, plain.entities)
    assert len(wanted) == len(plain.entities) == 2
    assert wanted[0].direction == "right"
    assert wanted[1].stop_seconds > 2
    assert await recorded(system, hard.entities) == wanted
    every = Database(system.environment["SENSORIUM_DATABASE"], 10)
    assert await Audience(every).count(system.credentials[0], *BEGINNING) == 4
    await every.close()
