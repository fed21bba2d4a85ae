"""What operators fear, done to a running system: every accepted job still ends, once."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.load import Load, record_end
from tests.history import History, State
from tests.integration.processes import Process, System, poll_job, post_job, post_when_served
from tests.servers import RabbitMQ, Server

pytestmark = pytest.mark.timeout(240)


async def appears(path: Path, seconds: float = 30.0) -> None:
    """Until a file is there: the service makes it when it begins."""
    async with asyncio.timeout(seconds):
        while not path.exists():
            await asyncio.sleep(0.01)


async def test_a_worker_killed_in_mid_job(system: System, tmp_path: Path) -> None:
    gateway = await system.gateway()
    first = await system.worker("misbehaver")
    begun = tmp_path / "begun"
    async with system.client(gateway) as client:
        job = await post_when_served(client, "misbehaver", {"deed": "hang", "seconds": 60, "once": str(begun), "mark": "m"})
        await appears(begun)
        await system.worker("misbehaver")
        first.kill()
        killed = time.monotonic()
        document = await poll_job(client, job["url"])
        assert document["mark"] == "m"
        assert time.monotonic() - killed < 5


async def test_a_worker_killed_in_mid_session_with_frames_in_flight(system: System) -> None:
    gateway = await system.gateway()
    workers = [system.start_worker("misbehaver") for _ in range(3)]
    await asyncio.gather(*(worker.ready() for worker in workers))
    frames, in_flight = 60, asyncio.Semaphore(10)
    history, session_id = History(), uuid.uuid4().hex
    async with system.client(gateway) as client:

        async def follow(url: str) -> dict[str, Any]:
            document = await poll_job(client, url, 60)
            record_end(history, url, document, turn=document.get("count"))
            in_flight.release()
            return document

        followers = []
        for number in range(frames):
            await in_flight.acquire()
            parameters = {"deed": "sleep", "seconds": 0.02, "mark": str(number), "state": {"session_id": session_id}}
            job = await post_when_served(client, "misbehaver", parameters)
            history.record(job["url"], State.ACCEPTED, session=session_id)
            followers.append(asyncio.create_task(follow(job["url"])))
            if number == 20:
                workers[0].kill()
        documents = await asyncio.gather(*followers)
    history.check()
    assert documents[-1]["marks"] == [str(number) for number in range(frames)]
    assert all("gap_frames" not in document for document in documents)


async def test_the_broker_restarted_under_load(system: System, own_rabbitmq: RabbitMQ) -> None:
    gateway = await system.gateway()
    await system.worker("dummy")
    async with system.client(gateway) as client:
        load = Load(client)
        await load.accepted(200)
        await asyncio.to_thread(own_rabbitmq.stop)
        status, problem = await post_job(client, "dummy", {"async": False})
        assert (status, problem["code"]) in ((503, "broker_away"), (503, "no_worker"))
        await asyncio.to_thread(own_rabbitmq.start)
        await load.accepted(200)
        await load.stop()
    load.history.check()
    assert load.refused > 0


async def test_redis_restarted_under_load(system: System, own_redis: Server) -> None:
    gateway = await system.gateway()
    await system.worker("dummy")
    async with system.client(gateway) as client:
        load = Load(client)
        await load.accepted(200)
        await asyncio.to_thread(own_redis.restart)
        await load.accepted(200)
        status, job = await post_job(client, "dummy", {"echo": "after", "async": False})
        assert (status, job["echo"]) == (201, "after")
        await load.stop()
    load.history.check()


async def test_a_poison_job_among_a_thousand_good_ones(system: System) -> None:
    """The worker dies of it each time it is tried, and is replaced as an orchestrator would."""
    gateway = await system.gateway()
    await system.worker("misbehaver", SENSORIUM_PREFETCH="16")
    history = History()
    replacing = asyncio.create_task(_replace_the_dead(system))
    try:
        async with system.client(gateway) as client:
            urls = await _post_with_poison(client, 1000)
            for url in urls:
                history.record(url, State.ACCEPTED)
            for start in range(0, len(urls), 50):
                documents = await asyncio.gather(*(poll_job(client, url, 120) for url in urls[start : start + 50]))
                for url, document in zip(urls[start : start + 50], documents, strict=True):
                    record_end(history, url, document)
                    assert document["status"] == (500 if url == urls[500] else 200), document
    finally:
        replacing.cancel()
    history.check()


async def _post_with_poison(client: aiohttp.ClientSession, count: int) -> list[str]:
    urls = []
    for number in range(count):
        job = await post_when_served(client, "misbehaver", {"deed": "die" if number == 500 else "nothing", "mark": str(number)})
        urls.append(job["url"])
    return urls


async def _replace_the_dead(system: System) -> None:
    while True:
        worker = next(process for process in reversed(system.processes) if "worker" in process.log.name)
        await worker.wait(240)
        system.start_worker("misbehaver", SENSORIUM_PREFETCH="16")


async def test_sigterm_drains(system: System, tmp_path: Path) -> None:
    gateway = await system.gateway()
    leaving = await system.worker("misbehaver")
    begun = tmp_path / "begun"
    async with system.client(gateway) as client:
        slow = await post_when_served(client, "misbehaver", {"deed": "sleep", "seconds": 1, "once": str(begun), "mark": "slow"})
        await appears(begun)
        waiting = [(await post_job(client, "misbehaver", {"mark": str(number)}))[1] for number in range(5)]
        leaving.terminate()
        assert await leaving.wait() == 0
        async with client.get(slow["url"]) as response:
            assert (response.status, (await response.json())["mark"]) == (200, "slow")
        await system.worker("misbehaver")
        marks = [(await poll_job(client, job["url"]))["mark"] for job in waiting]
        assert marks == [str(number) for number in range(5)]


async def test_a_worker_is_ready_when_the_broker_delivers_to_it(system: System, own_rabbitmq: RabbitMQ, namespace: str) -> None:
    worker = await system.worker("dummy")
    own_rabbitmq.ctl("delete_queue", f"{namespace}.dummy")
    async with asyncio.timeout(15):
        await worker.ready()
    gateway = await system.gateway()
    async with system.client(gateway) as client:
        job = await post_when_served(client, "dummy", {"echo": "delivered"})
        assert (await poll_job(client, job["url"]))["echo"] == "delivered"


async def test_a_gateway_starts_without_a_broker_and_finds_it(system: System, own_rabbitmq: RabbitMQ) -> None:
    await asyncio.to_thread(own_rabbitmq.stop)
    gateway: Process = system.start("gateway")
    async with asyncio.timeout(30), aiohttp.ClientSession() as stranger:
        while await _status(stranger, f"{gateway.url}/readyz") != 503:
            await asyncio.sleep(0.05)
        assert await _status(stranger, f"{gateway.url}/healthz") == 200
    await asyncio.to_thread(own_rabbitmq.start)
    await gateway.ready()


async def _status(session: aiohttp.ClientSession, url: str) -> int | None:
    try:
        async with session.get(url) as response:
            return response.status
    except aiohttp.ClientError:
        return None


async def test_a_full_queue_refuses_and_says_when_there_will_be_room(system: System) -> None:
    """Until a rate is known the answer is that of the settings; then it is a share of what is left to do, and nothing is dropped."""
    unknown = 77
    settings = {"QUEUE_LIMIT": "40", "PREFETCH": "1", "BATCH": "1", "ANNOUNCE_SECONDS": "0.2", "FACTS_SECONDS": "0.1"}
    settings |= {"RETRY_AFTER_SECONDS": str(unknown)}
    extra = {f"SENSORIUM_{name}": value for name, value in settings.items()}
    gateway = await system.gateway(**extra)
    async with system.client(gateway) as client:
        async with client.post("/services/misbehaver/1/jobs", json={}) as response:
            assert (response.status, (await response.json(content_type=None))["code"]) == (503, "no_worker")
            assert response.headers["Retry-After"] == str(unknown)
        await system.worker("misbehaver", **extra)
        job = {"deed": "sleep", "seconds": 0.5}
        urls = [(await post_when_served(client, "misbehaver", job))["url"]]
        told: set[int] = set()
        async with asyncio.timeout(60):
            while not told - {unknown}:
                async with client.post("/services/misbehaver/1/jobs", json=job) as response:
                    document = await response.json(content_type=None)
                    if response.status == 202:
                        urls.append(document["url"])
                        continue
                    assert (response.status, document["code"]) == (503, "queue_full")
                    told.add(int(response.headers["Retry-After"]))
        (estimate,) = told - {unknown}
        assert 1 <= estimate <= len(urls) * job["seconds"]
        assert "takes about" in document["error"]
        documents = await asyncio.gather(*(poll_job(client, url, 60) for url in urls))
    assert {document["status"] for document in documents} == {200}
