"""What is behind a gateway goes away for a while, or loses what it had: it refuses with a word, loses nothing, and recovers alone."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio

from tests.faults.load import Load
from tests.faults.proxy import Proxy
from tests.faults.test_system_faults import appears
from tests.integration.processes import Process, System, poll_job, post_job, post_when_served
from tests.servers import RabbitMQ, Server

pytestmark = pytest.mark.timeout(240)

PUBLISH_S = 2.0
SLACK_S = 5.0


async def refusal(client: aiohttp.ClientSession, service: str = "misbehaver") -> dict[str, Any]:
    """The problem of a job that is not accepted, which says when to come back and has no address, and comes soon."""
    started = time.monotonic()
    async with client.post(f"/services/{service}/1/jobs", json={}) as response:
        problem: dict[str, Any] = await response.json(content_type=None)
        assert response.status == 503, problem
        assert int(response.headers["Retry-After"]) > 0
    assert "url" not in problem
    assert time.monotonic() - started < PUBLISH_S + SLACK_S
    return problem


async def accepted_at_last(client: aiohttp.ClientSession, service: str = "misbehaver", seconds: float = 30.0) -> dict[str, Any]:
    """The document of a job that is accepted once what was away is back; refusals until then are 503."""
    async with asyncio.timeout(seconds):
        while True:
            status, document = await post_job(client, service, {"mark": "after"} if service == "misbehaver" else {})
            if status == 202:
                return document
            assert status == 503, document
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("raise_alarm", "end_alarm"),
    [
        (("set_vm_memory_high_watermark", "0"), ("set_vm_memory_high_watermark", "absolute", "1GB")),
        (("set_disk_free_limit", "1000000GB"), ("set_disk_free_limit", "50MB")),
    ],
    ids=["memory", "disk"],
)
async def test_a_broker_short_of_room(
    system: System, own_rabbitmq: RabbitMQ, tmp_path: Path, raise_alarm: tuple[str, ...], end_alarm: tuple[str, ...]
) -> None:
    """It takes nothing new; what it has is worked off, since acknowledgements come through."""
    gateway = await system.gateway()
    await system.worker("misbehaver", SENSORIUM_PREFETCH="1")
    begun = tmp_path / "begun"
    async with system.client(gateway) as client:
        slow = {"deed": "sleep", "seconds": 1, "once": str(begun)}
        urls = [(await post_when_served(client, "misbehaver", slow))["url"]]
        urls += [(await post_when_served(client, "misbehaver", {"mark": str(number)}))["url"] for number in range(3)]
        await appears(begun)
        try:
            await asyncio.to_thread(own_rabbitmq.ctl, *raise_alarm)
            assert (await refusal(client))["code"] == "broker_away"
            documents = await asyncio.gather(*(poll_job(client, url) for url in urls))
            assert {document["status"] for document in documents} == {200}
        finally:
            await asyncio.to_thread(own_rabbitmq.ctl, *end_alarm)
        job = await accepted_at_last(client)
        assert (await poll_job(client, job["url"]))["mark"] == "after"


async def test_a_network_that_swallows_what_the_gateway_says(system: System, own_rabbitmq: RabbitMQ) -> None:
    await system.worker("misbehaver")
    async with Proxy.before(own_rabbitmq.url) as proxy:
        gateway = await system.gateway(SENSORIUM_BROKER=proxy.url, SENSORIUM_HEARTBEAT_SECONDS="4")
        async with system.client(gateway) as client:
            await post_when_served(client, "misbehaver", {})
            proxy.swallow()
            for _ in range(3):
                assert (await refusal(client))["code"] == "broker_away"
            proxy.resume()
            job = await accepted_at_last(client)
            assert (await poll_job(client, job["url"]))["mark"] == "after"


async def test_a_queue_that_somebody_deletes(system: System, own_rabbitmq: RabbitMQ, namespace: str) -> None:
    """Either there is no job, or it is done: none is accepted into nowhere."""
    gateway = await system.gateway()
    worker = await system.worker("misbehaver")
    async with system.client(gateway) as client:
        await poll_job(client, (await post_when_served(client, "misbehaver", {}))["url"])
        for _ in range(3):
            await asyncio.to_thread(own_rabbitmq.ctl, "delete_queue", f"{namespace}.misbehaver")
            job = await accepted_at_last(client)
            assert (await poll_job(client, job["url"]))["mark"] == "after"
        await worker.ready()


async def test_results_are_not_unknown_while_the_store_is_away(system: System, own_redis: Server, tmp_path: Path) -> None:
    """503, never 404: the job waits in the broker or in a worker's hand, and its result comes once the store is back."""
    gateway = await system.gateway()
    await system.worker("misbehaver")
    begun = tmp_path / "begun"
    async with system.client(gateway) as client:
        done = await poll_job(client, (await post_when_served(client, "misbehaver", {"mark": "early"}))["url"])
        slow = {"deed": "sleep", "seconds": 1, "once": str(begun), "mark": "late"}
        job = await post_when_served(client, "misbehaver", slow)
        await appears(begun)
        await asyncio.to_thread(own_redis.stop)
        for url in (done["url"], job["url"]):
            async with client.get(url) as response:
                assert (response.status, (await response.json(content_type=None))["code"]) == (503, "store_away")
                assert int(response.headers["Retry-After"]) > 0
        await asyncio.to_thread(own_redis.start)
        assert (await poll_job(client, job["url"], 60))["mark"] == "late"
        assert await poll_job(client, done["url"]) == done


async def test_a_worker_cut_off_from_the_store(system: System, own_redis: Server, tmp_path: Path) -> None:
    """It keeps its result until it can store it; the job ends once."""
    gateway = await system.gateway()
    begun = tmp_path / "begun"
    async with Proxy.before(own_redis.url) as proxy, system.client(gateway) as client:
        worker = await system.worker("misbehaver", SENSORIUM_STORE=proxy.url)
        job = await post_when_served(client, "misbehaver", {"deed": "sleep", "seconds": 1, "once": str(begun), "mark": "m"})
        await appears(begun)
        proxy.refuse()
        async with asyncio.timeout(30), aiohttp.ClientSession() as stranger:
            while "store.away" not in worker.log.read_text():  # it has computed and could not store
                async with stranger.get(f"{worker.url}/healthz") as response:
                    assert response.status == 200
        assert (await post_job(client, "misbehaver", {}))[0] == 202
        proxy.resume()
        assert (await poll_job(client, job["url"], 60))["mark"] == "m"


async def test_a_store_that_lost_everything(system: System, own_redis: Server) -> None:
    """Sessions begin anew, and results that are gone are said to be lost: not unknown, and not waited for."""
    extra = {"SENSORIUM_DEADLINE_SECONDS": "2", "SENSORIUM_PROCESS_SECONDS": "2"}
    gateway = await system.gateway(**extra)
    await system.worker("misbehaver", **extra)
    state = {"session_id": uuid.uuid4().hex}
    async with system.client(gateway) as client, redis.asyncio.Redis.from_url(own_redis.url) as store:
        await post_when_served(client, "misbehaver", {})
        for count in (1, 2, 3):
            _, frame = await post_job(client, "misbehaver", {"state": state, "async": False})
            assert frame["count"] == count
        await store.flushall()
        for count in (1, 2):
            status, again = await post_job(client, "misbehaver", {"state": state, "async": False})
            assert (status, again["count"]) == (201, count)
        async with asyncio.timeout(30):
            while True:
                async with client.get(frame["url"]) as response:
                    if response.status != 202:
                        assert (response.status, (await response.json(content_type=None))["code"]) == (410, "result_lost")
                        break
                await asyncio.sleep(0.2)


async def test_a_blob_deleted_before_its_job_ran(system: System) -> None:
    gateway = await system.gateway()
    worker = await system.worker("face_detection")
    async with system.client(gateway) as client:
        async with asyncio.timeout(20):  # until the gateway has heard of the worker
            while (await post_job(client, "face_detection", {"image": "/blobs/x"}))[0] == 503:
                await asyncio.sleep(0.05)
        form = aiohttp.FormData()
        form.add_field("meta", json.dumps({"content": "attachment://b"}), content_type="application/json")
        form.add_field("attachment://b", b"a picture, or not", filename="b")
        async with client.post("/blobs", data=form) as response:
            blob = (await response.json())["url"]
        worker.popen.send_signal(signal.SIGSTOP)
        status, job = await post_job(client, "face_detection", {"image": blob})
        assert status == 202
        async with client.delete(blob) as response:
            assert response.status == 204
        worker.popen.send_signal(signal.SIGCONT)
        document = await poll_job(client, job["url"])
        assert (document["status"], document["code"]) == (410, "blob_gone")


async def test_a_gateway_killed_under_a_synchronous_request(system: System, tmp_path: Path) -> None:
    """Its client asks another one with the same key: the same job, computed once."""
    await system.worker("misbehaver")
    begun, key = tmp_path / "begun", {"Idempotency-Key": uuid.uuid4().hex}
    asked = {"deed": "sleep", "seconds": 1, "once": str(begun), "mark": "m", "async": False}
    killed = await system.gateway()
    async with system.client(killed) as client:
        await poll_job(client, (await post_when_served(client, "misbehaver", {}))["url"])
        request = asyncio.create_task(_post(client, asked, key))
        await appears(begun)
        killed.kill()
        with pytest.raises(aiohttp.ClientError):
            await request
    other = await system.gateway()
    async with system.client(other) as client:
        status, document = await _post(client, asked, key)
        assert (status, document["mark"]) == (201, "m")
        assert await _post(client, asked, key) == (201, document)
    worker = next(process for process in system.processes if "worker" in process.log.name)
    async with aiohttp.ClientSession() as stranger, stranger.get(f"{worker.url}/metrics") as response:
        assert 'sensorium_jobs_finished_total{outcome="done",service="misbehaver"} 2.0' in await response.text()


async def _post(client: aiohttp.ClientSession, parameters: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    async with client.post("/services/misbehaver/1/jobs", json=parameters, headers=headers) as response:
        return response.status, await response.json(content_type=None)


async def test_workers_replaced_one_after_the_other_under_load(system: System) -> None:
    """A rolling upgrade: the new one is ready before the old one drains; no request is refused and no job lost."""
    gateway = await system.gateway(SENSORIUM_PUBLISH_SECONDS="20")  # a machine with much else to do is not what is tested
    workers: list[Process] = [await system.worker("dummy") for _ in range(2)]
    async with system.client(gateway) as client:
        await post_when_served(client, "dummy", {})
        load = Load(client, clients=2)
        await load.accepted(50)
        for _ in range(4):
            workers.append(await system.worker("dummy"))
            leaving = workers.pop(0)
            leaving.terminate()
            assert await leaving.wait(60) == 0
            await load.accepted(50)
        await load.stop()
    load.history.check()
    assert load.refused == 0
