"""The recorder as its operators run it: a process over RabbitMQ, and inside `sensorium up`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from accounts.model import DEMO_SECRET
from analytics.queries import Audience
from database.engine import Database
from sensorium.processes.adapters import open_broker
from shared.ports import Broker, Message
from shared.settings import read_settings
from shared.visits import VISITS, Visit
from tests.contract.brokers import remove, until
from tests.integration.processes import Process, System, post_job, running_system

ALL_TIME = (0, 2_000_000_000_000)


@pytest.fixture
async def system(rabbitmq_server: object, postgresql_database: str, namespace: str, tmp_path: Path) -> AsyncIterator[System]:
    """A stream, and a broker and a database for recorders."""
    url: str = rabbitmq_server.url  # type: ignore[attr-defined]
    settings = {"BROKER": url, "DATABASE": postgresql_database, "NAMESPACE": namespace, "RECORDER_BATCH": "20", "VISIT_DAYS": "0"}
    with running_system(tmp_path, settings) as made:
        made.provision()
        yield made
    await remove(url, namespace, (VISITS, "dead_letters"))


@asynccontextmanager
async def broker_of(system: System) -> AsyncIterator[Broker]:
    names = ("BROKER", "NAMESPACE")
    given = {name.lower(): system.environment[f"SENSORIUM_{name}"] for name in names}
    async with open_broker(read_settings({}, publish_seconds=30, **given)) as broker:
        yield broker


async def tell(broker: Broker, stream: str, count: int) -> None:
    told = [Visit(str(uuid.uuid4()), 1_700_000_000.0 + number, 5.0, closed=True) for number in range(count)]
    await asyncio.gather(*(broker.publish(Message(VISITS, one.encode(stream), one.id, makes_queue=True)) for one in told))


async def count(url: str, stream: str) -> int:
    database = Database(url, 5)
    try:
        return await Audience(database).count(stream, *ALL_TIME)
    finally:
        await database.close()


def start_recorder(system: System) -> Process:
    return system.start("recorder", port_option="--health-port")


async def metric(process: Process, name: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{process.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


async def test_a_recorder_writes_and_ends_when_told(system: System) -> None:
    stream, url = system.credentials[0], system.environment["SENSORIUM_DATABASE"]
    recorder = start_recorder(system)
    await recorder.ready()
    async with broker_of(system) as broker:
        await tell(broker, stream, 100)

        async def all_written() -> bool:
            return await metric(recorder, "sensorium_visits_written_total") == 100

        await until(all_written)
        assert await count(url, stream) == 100
        await tell(broker, stream, 100)
        recorder.terminate()
        assert await recorder.wait() == 0

        async def nothing_in_hand() -> bool:
            return await count(url, stream) + (await broker.depth(VISITS)).ready == 200

        await until(nothing_in_hand)  # what was not taken any more is there for the next one
    assert stream not in recorder.log.read_text()


async def test_recorders_that_die_lose_nothing_and_count_nothing_twice(system: System) -> None:
    stream, url = system.credentials[0], system.environment["SENSORIUM_DATABASE"]
    first, second = start_recorder(system), start_recorder(system)
    await first.ready()
    await second.ready()
    async with broker_of(system) as broker:
        telling = asyncio.create_task(tell(broker, stream, 1500))

        async def some_written() -> bool:
            return await metric(first, "sensorium_visits_written_total") > 0

        await until(some_written)
        first.kill()
        await telling

        async def all_written() -> bool:
            return await count(url, stream) == 1500

        await until(all_written)
        assert (await broker.depth("dead_letters")).ready == 0
    second.terminate()
    assert await second.wait() == 0
    assert await count(url, stream) == 1500


async def test_a_recorder_without_a_database_says_so(system: System) -> None:
    system.environment["SENSORIUM_DATABASE"] = "postgresql+asyncpg://nobody@127.0.0.1:1/none"
    recorder = start_recorder(system)
    assert await recorder.wait() == 69
    assert "does not answer" in recorder.log.read_text()
    assert "Traceback" not in recorder.log.read_text()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[System]:
    with running_system(tmp_path, {"VISIT_DAYS": "0"}) as made:
        made.credentials = (DEMO_SECRET.client_id, DEMO_SECRET.access_token)
        yield made


async def test_what_workers_hand_over_last_is_written_before_the_process_ends(embedded: System, tmp_path: Path) -> None:
    process = embedded.start("up", "misbehaver")
    await process.ready()
    async with embedded.client(process) as session:
        jobs = [post_job(session, "misbehaver", {"deed": "visit", "mark": f"job{number}", "async": False}) for number in range(40)]
        answers = await asyncio.gather(*jobs)
    process.terminate()
    assert {status for status, _ in answers} == {201}
    assert await process.wait() == 0
    url = f"sqlite+aiosqlite:///{tmp_path}/var/sensorium.db"
    assert await count(url, DEMO_SECRET.client_id) == 80


async def test_who_is_in_view_when_the_process_ends_is_counted(embedded: System, tmp_path: Path) -> None:
    """Its sessions are in its memory, and nobody could close them afterwards."""
    process = embedded.start("up", "misbehaver")
    await process.ready()
    async with embedded.client(process) as session:
        for mark in ("ann", "ben"):
            given = {"mark": mark, "async": False, "state": {"session_id": f"before-{mark}"}}
            assert (await post_job(session, "misbehaver", given))[0] == 201
    process.terminate()
    assert await process.wait() == 0
    assert await count(f"sqlite+aiosqlite:///{tmp_path}/var/sensorium.db", DEMO_SECRET.client_id) == 2
