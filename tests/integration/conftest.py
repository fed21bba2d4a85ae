"""The system in its two forms: one process, and gateway and workers over real servers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from accounts.model import DEMO_SECRET
from tests.integration.processes import Process, System, running_system

DEMO = (DEMO_SECRET.client_id, DEMO_SECRET.access_token)
#: Short enough to be waited for in a test; the sizes of batches are not measured at each start, which takes 5 s of processor time.
#: A module's own ``SETTINGS`` go before.
QUICK = {"SESSION_SECONDS": "2", "HOLD_SECONDS": "5", "WEBHOOK_PRIVATE": "true", "LOG_LEVEL": "debug", "BATCH": "1"}
FORMS = ("embedded", "distributed")


async def start_system(form: str, system: System) -> Process:
    """The gateway of a running system in one of its `FORMS`, ready."""
    if form == "embedded":
        system.credentials = DEMO
        process = system.start("up")
        await process.ready()
        return process
    system.provision()
    worker = system.start_worker("all")
    gateway = await system.gateway()
    await worker.ready()
    await heard_of(system, gateway)
    return gateway


async def heard_of(system: System, gateway: Process, seconds: float = 20.0) -> None:
    """Until the gateway lists every service as available: it hears of a new worker a moment after the worker is ready."""
    async with system.client(gateway) as client, asyncio.timeout(seconds):
        while True:
            async with client.get("/services") as response:
                listed = (await response.json())["services"]
            if all(service["available"] for service in listed.values()):
                return
            await asyncio.sleep(0.1)


@pytest.fixture(scope="module", params=FORMS)
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, System]]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    settings = {**QUICK, **getattr(request.module, "SETTINGS", {})}
    if request.param == "distributed":
        settings |= {
            "BROKER": request.getfixturevalue("rabbitmq_server").url,
            "STORE": request.getfixturevalue("redis_server").url,
            # Of chance: the folders of two lanes of tests have the same name, and lanes share the servers.
            "NAMESPACE": f"int{uuid.uuid4().hex[:12]}",
            "DATABASE": f"sqlite+aiosqlite:///{folder / 'accounts.db'}",
        }
    with running_system(folder, settings) as made:
        yield request.param, made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(system: tuple[str, System]) -> Process:
    return await start_system(*system)


@pytest.fixture
async def client(system: tuple[str, System], gateway: Process) -> AsyncIterator[aiohttp.ClientSession]:
    async with system[1].client(gateway) as session:
        yield session
