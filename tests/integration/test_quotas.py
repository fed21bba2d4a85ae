"""Plans over two gateways: exact at the limit under load, whatever sessions and connections a customer opens."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shared.usage import period_of
from tests.contract.stores import remove
from tests.integration.conftest import DEMO
from tests.integration.frame_streams import make
from tests.integration.processes import Process, System, poll_job, post_job, running_system

SECONDS = 4
EMAIL = "test@example.com"


@dataclass
class Answers:
    """What the jobs came to: times (sent, answered) of those that were let in, and the answers of the others."""

    accepted: list[tuple[float, float]] = field(default_factory=list)
    refused: list[tuple[int, dict[str, str], dict[str, Any]]] = field(default_factory=list)


async def send(session: aiohttp.ClientSession, parameters: dict[str, Any], answers: Answers) -> bool:
    """One asynchronous job; whether it was let in."""
    begin = time.time()
    async with session.post("/services/dummy/1/jobs", json=parameters) as response:
        document = await response.json(content_type=None)
        if response.status == 202:
            answers.accepted.append((begin, time.time()))
            return True
        answers.refused.append((response.status, dict(response.headers), document))
        return False


async def send_until_refused(session: aiohttp.ClientSession, name: str, answers: Answers) -> None:
    """Frames of a session of its own, as fast as they are answered."""
    while await send(session, {"echo": name, "state": {"session_id": name}}, answers):
        pass


@pytest.fixture
async def distributed(tmp_path: Path, rabbitmq_server: Any, redis_server: Any, namespace: str) -> AsyncIterator[System]:
    settings = {
        "BROKER": rabbitmq_server.url,
        "STORE": redis_server.url,
        "NAMESPACE": namespace,
        "DATABASE": f"sqlite+aiosqlite:///{tmp_path}/accounts.db",
        "USAGE_SAVE_SECONDS": "0.5",
    }
    with running_system(tmp_path, settings) as system:
        system.provision()
        system.run("account", "limits", "developer", "--hours", str(SECONDS / 3600))
        yield system
    await remove(redis_server.url, namespace)


async def two_gateways(system: System) -> tuple[Process, Process]:
    worker = system.start_worker("dummy")
    gateways = await asyncio.gather(system.gateway(), system.gateway())
    await worker.ready()
    return gateways[0], gateways[1]


def used(system: System) -> int:
    (account,) = json.loads(system.run("account", "usage", EMAIL, "--json"))
    seconds: int = account["usage"]["used"]
    return seconds


async def saved(system: System, patience: float = 60) -> None:
    """Until the database has what was counted; each look is a command, which takes seconds on a busy machine."""
    end = time.monotonic() + patience
    while (seconds := await asyncio.to_thread(used, system)) != SECONDS:
        assert time.monotonic() < end, f"{seconds} s of {SECONDS} s in the database"


async def test_no_job_over_the_plan_is_accepted_by_any_gateway(distributed: System) -> None:
    gateways = await two_gateways(distributed)
    answers, end = Answers(), period_of("month", time.time())[1]
    async with distributed.client(gateways[0]) as one, distributed.client(gateways[1]) as other:
        async with asyncio.timeout(60):
            await asyncio.gather(*(send_until_refused(session, f"s{number}", answers) for session in (one, other) for number in range(8)))
        # jobs whose whole request lay inside one second name seconds that must have been counted
        surely = {int(begin) for begin, done in answers.accepted if int(begin) == int(done)}
        assert len(surely) <= SECONDS
        assert len(answers.accepted) > 100
        assert len(answers.refused) == 16
        for status, headers, document in answers.refused:
            assert (status, document["type"]) == (429, "urn:sensorium:problem:quota-exceeded")
            assert abs(time.time() + int(headers["Retry-After"]) - end) < 30
            assert headers["RateLimit"].startswith('"developer";r=0;t=')
        for session in (one, other):  # neither another session nor none, a cancelled job nor a new stream lets anything in
            assert not await send(session, {"echo": "again", "state": {"session_id": "another"}}, answers)
            assert not await send(session, {"echo": "again", "async": False}, answers)
    await saved(distributed)


async def test_seconds_are_not_given_back_and_a_larger_plan_goes_on(distributed: System) -> None:
    gateways = await two_gateways(distributed)
    answers = Answers()
    async with distributed.client(gateways[0]) as session:
        async with asyncio.timeout(60):
            while True:
                status, document = await post_job(session, "dummy", {"echo": "cancelled"})
                if status == 429:
                    break
                async with session.delete(document["url"]) as response:
                    assert response.status == 200
        async with session.get("/services") as response:
            assert response.status == 200  # reading costs nothing
        distributed.run("account", "plan", EMAIL, "enterprise")
    again = await distributed.gateway()  # which has not heard of the old plan
    async with distributed.client(again) as session:
        assert await send(session, {"echo": "on"}, answers)
        async with session.post("/services/dummy/1/jobs", json={"echo": "on", "async": False}) as response:
            assert response.headers["RateLimit-Policy"] == '"enterprise";q=43200;w=86400'


async def frames_until_refused(url: str, answers: Answers) -> None:
    """Frames over a WebSocket that was opened with a ticket, until one is refused."""
    async with aiohttp.ClientSession() as browser, browser.ws_connect(url) as socket:
        while not answers.refused:
            begin = time.time()
            await socket.send_bytes(b"a frame")
            answer = json.loads(await socket.receive_str(timeout=60))
            if answer["status"] == 201:
                answers.accepted.append((begin, time.time()))
            else:
                answers.refused.append((answer["status"], {}, answer))


async def test_streams_of_frames_use_the_plan_too(distributed: System) -> None:
    gateways = await two_gateways(distributed)
    answers = Answers()
    async with distributed.client(gateways[0]) as one, distributed.client(gateways[1]) as other:
        sockets = []
        for session, gateway in ((one, gateways[0]), (other, gateways[1])):
            document = await make(session, "dummy", stream={"data_field": "echo"})
            address = f"/services/dummy/1/streams/{document['url'].rsplit('/', 1)[-1]}?ticket={document['ticket']}"
            sockets.append(frames_until_refused(gateway.url + address, answers))
        await asyncio.gather(*sockets, send_until_refused(one, "beside", answers))
    assert {document["code"] for _, _, document in answers.refused} == {"quota_exceeded"}
    assert len({int(begin) for begin, done in answers.accepted if int(begin) == int(done)}) <= SECONDS
    await saved(distributed)


async def test_the_embedded_form_remembers_use_over_a_restart(tmp_path: Path) -> None:
    with running_system(tmp_path, {}) as system:
        system.credentials = DEMO
        first = system.start("up", "dummy")
        await first.ready()
        async with system.client(first) as session:
            status, document = await post_job(session, "dummy", {"echo": "here"})
            assert status == 202
            await poll_job(session, document["url"])
        first.terminate()
        assert await first.wait() == 0
        second = system.start("up", "dummy")
        await second.ready()
        async with system.client(second) as session, session.post("/services/dummy/1/jobs", json={"async": False}) as response:
            assert response.status == 201
            left = int(response.headers["RateLimit"].split("r=")[1].split(";")[0])
        assert left <= 12 * 3600 - 2
