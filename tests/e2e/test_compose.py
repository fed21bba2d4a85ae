"""The whole system from its compose file: every service answers, and what operators do and fear costs no job."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from pydantic import BaseModel

from tests.e2e.stack import Stack, published
from tests.faults.load import Load
from tests.integration.processes import poll_job, post_job, post_when_served
from workers.catalog import ServiceType, load_catalog
from workers.contract import File

pytestmark = pytest.mark.timeout(1500)

SERVICES = list(load_catalog(None).values())


def example_request(service: ServiceType) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(parameters, attachments) of the service's own example, as a client sends it."""
    files: dict[str, bytes] = {}

    def sent(value: Any) -> Any:
        if isinstance(value, File):
            reference = f"attachment://{len(files)}"
            files[reference] = value.data
            return reference
        if isinstance(value, BaseModel):
            return {name: sent(getattr(value, name)) for name in value.model_fields_set}
        if isinstance(value, dict):
            return {name: sent(member) for name, member in value.items()}
        return [sent(member) for member in value] if isinstance(value, (list, tuple)) else value

    return sent(service.example()), files


@pytest.mark.parametrize("service", SERVICES, ids=lambda kind: kind.name)
async def test_a_job_of_every_service_through_the_published_port(stack: Stack, service: ServiceType) -> None:
    parameters, files = example_request(service)
    async with stack.client() as client:
        status, document = await post_job(client, service.name, {**parameters, "async": False, "explain": True}, files)
    assert status == 201, document
    assert document["explain"]["attempt"] == 1


async def test_only_the_gateway_is_published_and_nobody_is_root(stack: Stack) -> None:
    for container in stack.containers():
        service = container.labels["com.docker.compose.service"]
        assert bool(published(container)) == (service == "gateway"), service
        if "sensorium/" not in container.attrs["Config"]["Image"]:
            continue
        host = container.attrs["HostConfig"]
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False), service
        code, user = container.exec_run(["python", "-c", "import os, shutil; print(os.getuid(), shutil.which('gcc'), shutil.which('cc'))"])
        assert (code, user) == (0, b"10001 None None\n"), service


async def test_the_inner_network_has_no_way_out(stack: Stack) -> None:
    inner = stack.engine.networks.get(f"{stack.project}_inside")
    assert inner.attrs["Internal"] is True
    (worker,) = stack.containers("worker-dummy")
    assert list(worker.attrs["NetworkSettings"]["Networks"]) == [f"{stack.project}_inside"]


async def test_three_workers_of_a_service_share_its_work(stack: Stack) -> None:
    stack.up("--scale", "worker-face_detection=3", "--no-recreate")
    try:
        assert stack.queue("face_detection", "consumers") == 3
        parameters, files = example_request(next(kind for kind in SERVICES if kind.name == "face_detection"))
        async with stack.client() as client:
            jobs = [post_job(client, "face_detection", {**parameters, "async": False}, files) for _ in range(30)]
            assert {status for status, _ in await asyncio.gather(*jobs)} == {201}
    finally:
        stack.up("--scale", "worker-face_detection=1", "--no-recreate")


async def test_the_jobs_of_a_killed_worker_are_done_by_another(stack: Stack) -> None:
    stack.up("--scale", "worker-tts=2", "--no-recreate")
    try:
        async with stack.client() as client:
            text = {"text": "One, two, three, four. " * 200, "lang": "en-US", "engine": "espeak", "explain": True}
            jobs = await asyncio.gather(*(post_when_served(client, "text_to_speech", text) for _ in range(16)))
            await until(lambda: stack.queue("text_to_speech", "messages_unacknowledged") > 0)
            stack.containers("worker-tts")[0].kill()
            documents = await asyncio.gather(*(poll_job(client, job["url"], 120) for job in jobs))
    finally:
        stack.up("--scale", "worker-tts=1")
    assert [document["status"] for document in documents] == [200] * len(jobs)
    assert max(document["explain"]["attempt"] for document in documents) == 2


@pytest.mark.parametrize("service", ["rabbitmq", "redis", "postgres"])
async def test_a_server_restarted_under_load_loses_no_job(stack: Stack, service: str) -> None:
    async with stack.client() as client:
        load = Load(client)
        await load.accepted(50)
        (container,) = stack.containers(service)
        await asyncio.to_thread(container.restart, timeout=60)
        await load.accepted(50, 120)
        await load.stop()
    load.history.check()
    stack.up("--no-recreate")


async def test_gateways_restarted_one_after_the_other_fail_no_request(stack: Stack) -> None:
    stack.up("--scale", "gateway=2", "--no-recreate")
    try:
        async with balanced(stack) as clients:
            served = itertools.count()
            stopping = asyncio.Event()
            tasks = [asyncio.create_task(keep_asking(clients, served, stopping)) for _ in range(4)]
            for container in stack.containers("gateway"):
                await more(served, 100)
                await asyncio.to_thread(container.restart, timeout=60)
                stack.up("--scale", "gateway=2", "--no-recreate")
            await more(served, 100)
            stopping.set()
            await asyncio.gather(*tasks)
    finally:
        stack.up("--scale", "gateway=1", "--no-recreate")


async def test_what_is_kept_survives_down_and_up(stack: Stack) -> None:
    async with stack.client() as client:
        form = aiohttp.FormData()
        form.add_field("meta", '{"content": "attachment://c"}', content_type="application/json")
        form.add_field("attachment://c", b"kept", filename="c")
        async with client.post("/blobs", data=form) as response:
            blob = await response.json()
        done = await post_job(client, "dummy", {"echo": "kept", "async": False})
    stack.compose("down", "--timeout", "40")
    stack.up()
    async with stack.client() as client:
        async with client.get(path_of(blob["url"])) as response:
            assert await response.read() == b"kept"
        assert (await poll_job(client, path_of(done[1]["url"])))["echo"] == "kept"


def path_of(url: str) -> str:
    """The gateway's port is another after a restart; what it keeps is not."""
    return "/" + url.split("/", 3)[3]


async def until(condition: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


async def more(served: Any, count: int) -> None:
    """Until so many more requests are answered. Reading a counter costs one."""
    goal = next(served) + count
    await until(lambda: next(served) >= goal, 120)


@asynccontextmanager
async def balanced(stack: Stack) -> AsyncIterator[list[aiohttp.ClientSession]]:
    """A client of each gateway."""
    async with AsyncExitStack() as opened:
        yield [await opened.enter_async_context(stack.client(url)) for url in stack.urls()]


async def keep_asking(clients: list[aiohttp.ClientSession], served: Any, stopping: asyncio.Event) -> None:
    """As a load balancer asks: where a connection cannot be had or breaks, the other gateway is asked the same, under the same key."""
    name = uuid.uuid4().hex
    for number in itertools.count():
        if stopping.is_set():
            return
        key = {"Idempotency-Key": f"{name}-{number}"}
        for attempt in range(200):
            try:
                async with clients[(number + attempt) % len(clients)].post(
                    "/services/dummy/1/jobs", json={"echo": str(number), "async": False}, headers=key
                ) as response:
                    document = await response.json(content_type=None)
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)
                continue
            assert response.status == 201, document
            assert document["echo"] == str(number)
            next(served)
            break
        else:
            raise AssertionError("no gateway answered")
