"""A job that kills its workers, seen by an operator and put back, over real processes and servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.console import PASSWORD, Browser
from tests.integration.processes import Process, System, poll_job, post_when_served, running_system

OPERATOR = "operator@example.com"
SOON_S = 30.0


@pytest.fixture
def system(request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> Iterator[System]:
    settings = {
        "BROKER": request.getfixturevalue("rabbitmq_server").url,
        "STORE": request.getfixturevalue("redis_server").url,
        "DATABASE": f"sqlite+aiosqlite:///{tmp_path / 'accounts.db'}",
        "NAMESPACE": namespace,
        "ATTEMPTS": "2",
        "ANNOUNCE_SECONDS": "0.2",
        "ANNOUNCED_SECONDS": "2",
        "FACTS_SECONDS": "0.2",
    }
    with running_system(tmp_path, settings) as made:
        made.provision()
        made.run("account", "create", OPERATOR, "--operator", "--password-stdin", text=PASSWORD)
        yield made


@pytest.fixture
async def gateway(system: System) -> Process:
    return await system.gateway()


@pytest.fixture
async def operator(gateway: Process) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        browser = Browser(gateway.url, session)
        assert (await browser.sign_in(OPERATOR)).status == 303
        yield browser


async def facts_when(operator: Browser, check: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The facts once they are as they should be; they are asked for as the page's script does."""
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(SOON_S):
            while not found or not check(found):
                found = json.loads((await operator.get("/operator/facts")).text)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(found) from None
    return found


def queue_of(facts: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(queue for queue in facts["queues"] if queue["name"] == "misbehaver")
    return found


async def test_a_job_that_kills_its_workers_is_seen_and_done_when_it_is_put_back(
    system: System, gateway: Process, operator: Browser, tmp_path: Path
) -> None:
    mark = tmp_path / "killed"
    worker = await system.worker("misbehaver")
    first = (await facts_when(operator, lambda facts: len(facts["workers"]) == 1))["workers"][0]
    async with system.client(gateway) as client:
        document = await post_when_served(client, "misbehaver", {"deed": "die", "once": str(mark), "mark": "m"})
        for _ in range(2):  # two attempts, each the end of its worker
            await worker.wait()
            mark.unlink()
            worker = system.start_worker("misbehaver")
        await worker.ready()
        failed = await poll_job(client, document["url"])
        assert (failed["status"], failed["code"]) == (500, "service_failed")

        facts = await facts_when(operator, lambda facts: facts["dead_letters"]["total"] == 1 and len(facts["workers"]) == 1)
        assert facts["workers"][0]["id"] != first["id"]  # the dead have fallen silent, and who came after them is somebody else
        (letter,) = facts["dead_letters"]["latest"]
        assert document["url"].endswith(letter["id"])
        assert (letter["service"], letter["reason"], letter["attempts"], letter["obstacle"]) == ("misbehaver", "rejected", 2, None)
        assert letter["tenant"] == system.credentials[0]
        assert facts["gap"] is not None
        assert queue_of(facts)["source"] == "workers"

        mark.touch()  # what killed them is mended
        await operator.get("/operator")
        assert (await operator.post(f"/operator/dead-letters/{letter['id']}/requeue")).status == 303
        done = await poll_job(client, document["url"])
        assert (done["status"], done["mark"]) == (200, "m")
    assert (await facts_when(operator, lambda facts: facts["dead_letters"]["total"] == 0))["faults"] == []


async def test_jobs_without_a_worker_grow_old_before_the_operators_eyes(system: System, gateway: Process, operator: Browser) -> None:
    worker = await system.worker("misbehaver")
    async with system.client(gateway) as client:
        await post_when_served(client, "misbehaver", {"deed": "sleep", "seconds": 60})
        held = await facts_when(operator, lambda facts: queue_of(facts)["unacknowledged"] == 1 and queue_of(facts)["oldest_seconds"] > 1)
        assert queue_of(held)["ready"] == 0
        busy = await facts_when(operator, lambda facts: facts["workers"][0]["services"][0]["busy"] > 0)
        assert busy["workers"][0]["services"][0]["in_hand"] == 1
        worker.kill()
        alone = await facts_when(operator, lambda facts: queue_of(facts)["ready"] == 1 and not facts["workers"])
        assert (queue_of(alone)["consumers"], queue_of(alone)["unacknowledged"]) == (0, 0)
        await facts_when(operator, lambda facts: queue_of(facts)["oldest_seconds"] > 1)
        async with client.get("/metrics") as response:
            text = await response.text()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("sensorium_"))
    assert float(lines['sensorium_queue_ready{queue="misbehaver"}']) == 1
    assert float(lines['sensorium_queue_consumers{queue="misbehaver"}']) == 0
    assert float(lines['sensorium_queue_oldest_seconds{queue="misbehaver"}']) > 1
    assert float(lines['sensorium_part_up{part="broker"}']) == 1
