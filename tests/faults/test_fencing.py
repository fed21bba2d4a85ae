"""Workers that come too late: killed between result and acknowledgement, or stopped for so long that their work was given to others."""

from __future__ import annotations

import asyncio
import re
import signal
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.contract.brokers import until
from tests.faults.proxy import Proxy
from tests.faults.test_system_faults import appears
from tests.integration.processes import Process, System, poll_job, post_job, post_when_served
from tests.servers import RabbitMQ

pytestmark = pytest.mark.timeout(240)

#: The broker gives work to others after two missed ones, of half this long.
HEARTBEAT = {"SENSORIUM_HEARTBEAT_SECONDS": "4"}


async def counted(process: Process, metric: str) -> float:
    """A metric of a worker without its labels, summed; 0 for one that is not there (yet)."""
    async with aiohttp.ClientSession() as session, session.get(f"{process.url}/metrics") as response:
        found = re.findall(rf"^{metric}(?:{{[^}}]*}})? (\S+)$", await response.text(), re.MULTILINE)
    return sum(map(float, found))


async def has_counted(process: Process, metric: str, least: float = 1) -> None:
    async def enough() -> bool:
        return await counted(process, metric) >= least

    await until(enough, 60)


async def test_a_worker_killed_between_its_result_and_the_acknowledgement(system: System, own_rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    """The job is delivered again, found to have ended, and neither computed nor changed."""
    gateway = await system.gateway()
    begun = tmp_path / "begun"
    async with Proxy.before(own_rabbitmq.url) as proxy, system.client(gateway) as client:
        first = await system.worker("misbehaver", SENSORIUM_BROKER=proxy.url)
        asked = {"deed": "sleep", "seconds": 1, "once": str(begun), "mark": "m"}
        job = await post_when_served(client, "misbehaver", asked)
        await appears(begun)
        proxy.hold()  # what the worker says to the broker from now on stays on the way
        ended = await poll_job(client, job["url"])
        first.kill()
        proxy.sever()
        second = await system.worker("misbehaver")
        await has_counted(second, "sensorium_duplicates_total")
        assert await counted(second, "sensorium_compute_seconds_count") == 0
        assert await poll_job(client, job["url"]) == ended
        assert ended["mark"] == "m"


async def test_a_stopped_worker_that_goes_on_changes_nothing(system: System, tmp_path: Path) -> None:
    """Its job was done by another one meanwhile; what it brings late is dropped and counted, and then it works again."""
    gateway = await system.gateway(**HEARTBEAT)
    begun = tmp_path / "begun"
    async with system.client(gateway) as client:
        stopped = await system.worker("misbehaver", **HEARTBEAT)
        asked = {"deed": "sleep", "seconds": 1, "once": str(begun), "mark": "m"}
        job = await post_when_served(client, "misbehaver", asked)
        await appears(begun)
        stopped.popen.send_signal(signal.SIGSTOP)
        other = await system.worker("misbehaver", **HEARTBEAT)
        ended = await poll_job(client, job["url"], 60)
        assert ended["mark"] == "m"
        stopped.popen.send_signal(signal.SIGCONT)
        await has_counted(stopped, "sensorium_duplicates_total")
        assert await poll_job(client, job["url"]) == ended
        await stopped.ready()
        other.terminate()
        assert await other.wait() == 0
        status, answer = await post_job(client, "misbehaver", {"mark": "after", "async": False})
        assert (status, answer["mark"]) == (201, "after")


async def test_two_workers_that_believe_to_have_a_session(system: System, tmp_path: Path) -> None:
    """The one that was stopped over its frame comes back when the session has gone on: its frame is not applied twice."""
    gateway = await system.gateway(**HEARTBEAT)
    begun, state = tmp_path / "begun", {"session_id": uuid.uuid4().hex}

    async def frame(client: aiohttp.ClientSession, mark: str, **deed: Any) -> str:
        return str((await post_when_served(client, "misbehaver", {"mark": mark, "state": state, **deed}))["url"])

    async with system.client(gateway) as client:
        stopped = await system.worker("misbehaver", **HEARTBEAT)
        urls = [await frame(client, "0")]
        await poll_job(client, urls[0])
        urls.append(await frame(client, "1", deed="sleep", seconds=1, once=str(begun)))
        await appears(begun)
        stopped.popen.send_signal(signal.SIGSTOP)
        urls += [await frame(client, str(number)) for number in range(2, 6)]
        await system.worker("misbehaver", **HEARTBEAT)
        before = await asyncio.gather(*(poll_job(client, url, 60) for url in urls))
        stopped.popen.send_signal(signal.SIGCONT)
        await has_counted(stopped, "sensorium_duplicates_total")
        urls += [await frame(client, str(number)) for number in range(6, 10)]
        documents = await asyncio.gather(*(poll_job(client, url, 60) for url in urls))
    assert documents[: len(before)] == before
    assert [document["count"] for document in documents] == list(range(1, 11))
    assert documents[-1]["marks"] == [str(number) for number in range(10)]
    assert all("gap_frames" not in document for document in documents)


async def test_a_stuck_worker_ends_itself_and_its_job_is_done_by_another(system: System, tmp_path: Path) -> None:
    """A computation without end cannot be ended from outside; the process is, before the broker would lose patience."""
    gateway = await system.gateway()
    begun = tmp_path / "begun"
    async with system.client(gateway) as client:
        stuck = await system.worker("misbehaver", SENSORIUM_PROCESS_SECONDS="1")
        asked = {"deed": "hang", "seconds": 60, "once": str(begun), "mark": "m"}
        job = await post_when_served(client, "misbehaver", asked)
        assert await stuck.wait() == 70
        await system.worker("misbehaver")
        assert (await poll_job(client, job["url"]))["mark"] == "m"
