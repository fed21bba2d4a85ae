"""Clients that leave: nobody waits for them any longer, and what they asked for is done."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.faults.test_system_faults import appears
from tests.integration.conftest import DEMO
from tests.integration.processes import Process, System, poll_job, post_job, running_system

#: Requests that are open at a time, and how often so many come and go.
AT_A_TIME = 200
ROUNDS = 50

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    settings = {"MODEL_THREADS": "1", "CONNECTIONS_PER_ADDRESS": "10000", "QUEUE_LIMIT": "20000", "LOG_LEVEL": "warning"}
    with running_system(tmp_path, {**settings, "DEADLINE_SECONDS": "600"}) as made:
        made.credentials = DEMO
        yield made


async def _waiters(client: aiohttp.ClientSession) -> int:
    async with client.get("/metrics") as response:
        found = re.search(r"^sensorium_waiters (\d+)", await response.text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


async def _until(check: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await check():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _request(process: Process, method: str, path: str, body: bytes = b"", *fields: str) -> AsyncIterator[None]:
    """A request whose answer nobody stays for: at the end of the block the connection is gone."""
    lines = [f"{method} {path} HTTP/1.1", "Host: a", f"Authorization: {aiohttp.encode_basic_auth(*DEMO)}", *fields]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    _, writer = await asyncio.open_connection("127.0.0.1", process.port)
    try:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        yield
    finally:
        writer.transport.abort()


async def _occupied(system: System, folder: Path) -> tuple[Process, aiohttp.ClientSession, str]:
    """A system whose one model thread works for a while, a client, and the job that does."""
    process = system.start("up", "misbehaver")
    await process.ready()
    client = system.client(process)
    begun = folder / "begun"
    _, job = await post_job(client, "misbehaver", {"deed": "sleep", "seconds": 60, "once": str(begun)})
    await appears(begun)
    return process, client, job["url"]


async def test_ten_thousand_requests_that_nobody_stays_for(system: System, tmp_path: Path) -> None:
    process, client, _ = await _occupied(system, tmp_path)
    body = json.dumps({"async": False}).encode()
    async with client:
        for _ in range(ROUNDS):
            requests = [_request(process, "POST", "/services/misbehaver/1/jobs", body) for _ in range(AT_A_TIME)]
            await asyncio.gather(*(request.__aenter__() for request in requests))
            await _until(lambda: _are(client, AT_A_TIME))
            await asyncio.gather(*(request.__aexit__(None, None, None) for request in requests))
            await _until(lambda: _are(client, 0), 5)
    assert "request.failed" not in process.log.read_text()


async def _are(client: aiohttp.ClientSession, count: int) -> bool:
    return await _waiters(client) == count


async def test_what_they_asked_for_is_done(system: System, tmp_path: Path) -> None:
    process = system.start("up", "misbehaver")
    await process.ready()
    begun, key = tmp_path / "begun", "left-behind"
    asked = {"deed": "sleep", "seconds": 1, "once": str(begun), "mark": "done", "async": False}
    async with system.client(process) as client:
        async with _request(process, "POST", "/services/misbehaver/1/jobs", json.dumps(asked).encode(), f"Idempotency-Key: {key}"):
            await appears(begun)
        # the same request again is the same job, which went on meanwhile
        async with client.post("/services/misbehaver/1/jobs", json=asked, headers={"Idempotency-Key": key}) as response:
            assert (response.status, (await response.json())["mark"]) == (201, "done")
        async with client.get("/metrics") as response:
            assert 'sensorium_jobs_finished_total{outcome="done",service="misbehaver"} 1.0' in await response.text()


@pytest.mark.parametrize("how", ["wait", "events"])
async def test_whoever_waited_for_a_job_leaves_it_as_it_is(system: System, tmp_path: Path, how: str) -> None:
    process, client, url = await _occupied(system, tmp_path)
    path = url.removeprefix(process.url)
    async with client:
        if how == "wait":
            async with _request(process, "GET", path, b"", "Prefer: wait=50"):
                await _until(lambda: _are(client, 1))
            await _until(lambda: _are(client, 0), 5)
        else:
            async with _request(process, "GET", path + "/events"):
                pass
        async with client.delete(url) as response:
            assert (await response.json())["code"] == "cancelled"
        assert (await poll_job(client, url))["code"] == "cancelled"
    assert "request.failed" not in process.log.read_text()
