"""Streams of frames over several gateways, and what becomes of them when one goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.conftest import DEMO
from tests.integration.frame_streams import answers, collect, make, next_answer, path, sending, socket, until
from tests.integration.processes import Process, System, running_system
from tests.servers import Server

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def system(tmp_path: Path, rabbitmq_server: Server, redis_server: Server, namespace: str) -> Iterator[System]:
    settings = {
        "BROKER": rabbitmq_server.url,
        "STORE": redis_server.url,
        "NAMESPACE": namespace,
        "DATABASE": f"sqlite+aiosqlite:///{tmp_path / 'accounts.db'}",
        "MODEL_THREADS": "1",
        "LOG_LEVEL": "debug",
        "DRAIN_SECONDS": "10",
    }
    with running_system(tmp_path, settings) as made:
        made.provision()
        yield made


@asynccontextmanager
async def two_gateways(system: System) -> AsyncIterator[tuple[list[Process], list[aiohttp.ClientSession]]]:
    """Two gateways with clients, and two workers that share every session's frames."""
    workers = [system.start_worker("dummy", "misbehaver") for _ in range(2)]
    gateways = [await system.gateway(), await system.gateway()]
    await asyncio.gather(*(worker.ready() for worker in workers))
    async with AsyncExitStack() as stack:
        yield gateways, [await stack.enter_async_context(system.client(gateway)) for gateway in gateways]


async def test_input_and_output_at_different_gateways(system: System) -> None:
    async with two_gateways(system) as (_, (one, other)):
        stream = await make(one, "dummy")
        async with sending(one, stream) as (sender, posted):
            reading = asyncio.create_task(collect(other, stream))
            for number in range(60):
                sender.frame(b"", {"echo": str(number)})
            sender.end()
            found = await reading
            assert (await posted)[0] == 200
        assert [(answer["echo"], answer["count"]) for answer in found] == [(str(number), number + 1) for number in range(60)]
        async with other.get(path(found[0]["url"])) as response:
            told = await response.json()
        assert told == {name: value for name, value in found[0].items() if name != "stream"}
        stream = await make(other, "dummy")
        async with one.delete(path(stream["url"])) as response:
            assert response.status == 204
        assert [answer["code"] for answer in await collect(other, stream)] == ["stream_ended"]


async def test_a_gateway_is_killed_and_the_stream_goes_on_at_the_other(system: System) -> None:
    """Frames that had become jobs are answered there; the session kept what it knew; no answer twice, none out of order."""
    async with two_gateways(system) as ((first, _), (one, other)):
        stream = await make(one, "misbehaver")
        async with socket(one, stream) as opened:
            for number in range(3):
                await opened.send_str(json.dumps({"mark": str(number), "deed": "sleep", "seconds": 0.3}))
                await opened.send_bytes(b"")
            assert (await next_answer(opened))["count"] == 1

            async def all_came() -> bool:
                async with other.get(path(stream["url"])) as response:
                    return int((await response.json())["frames"]) == 3

            await until(all_came)
            await asyncio.sleep(0.2)  # (the third is listed a moment before it is safe in the broker)
            first.kill()
        async with socket(other, stream, "?after=1") as opened:
            await opened.send_str('{"mark": "after"}')
            await opened.send_bytes(b"")
            found = [await next_answer(opened) for _ in range(3)]
        assert [answer["stream"]["frame"] for answer in found] == [2, 3, 4]
        assert found[-1]["marks"] == ["0", "1", "2", "after"]
        assert "gap_frames" not in found[-1]


async def test_a_gateway_that_is_told_to_stop_tells_what_was_under_way_first(system: System) -> None:
    async with two_gateways(system) as ((first, second), (one, other)):
        stream = await make(one, "misbehaver")
        async with socket(one, stream) as opened, sending(one, await make(one, "dummy")) as (sender, posted):
            sender.frame(b"")
            reading = asyncio.create_task(collect(one, stream))
            for number in range(3):
                await opened.send_str(json.dumps({"mark": str(number), "deed": "sleep", "seconds": 0.4}))
                await opened.send_bytes(b"")
            assert (await next_answer(opened))["count"] == 1
            first.terminate()
            assert [(await next_answer(opened))["count"] for _ in range(2)] == [2, 3]
            message = await opened.receive(10)
            assert (message.type, opened.close_code) == (aiohttp.WSMsgType.CLOSE, 1001)
            assert "going down" in message.extra
            told = await reading
            assert [answer.get("count") for answer in told] == [1, 2, 3, None]
            assert (told[-1]["code"], told[-1]["stream"]) == ("stopping", {"closed": True})
            status, problem = await posted
            assert (status, problem["code"]) == (503, "stopping")
        assert await first.wait() == 0
        async with socket(other, stream) as opened:
            await opened.send_bytes(b"")
            assert (await next_answer(opened))["count"] == 4
        assert second.popen.poll() is None


async def test_an_embedded_system_drains_too(tmp_path: Path) -> None:
    with running_system(tmp_path, {"LOG_LEVEL": "debug"}) as system:
        system.credentials = DEMO
        process = system.start("up", "misbehaver")
        await process.ready()
        async with system.client(process) as client:
            stream = await make(client, "misbehaver")
            async with socket(client, stream) as opened:
                for _ in range(2):
                    await opened.send_str('{"deed": "sleep", "seconds": 0.4}')
                    await opened.send_bytes(b"")
                assert (await next_answer(opened))["count"] == 1
                process.terminate()
                assert (await next_answer(opened))["count"] == 2
                await opened.receive(10)
                assert opened.close_code == 1001
        assert await process.wait() == 0


async def test_many_streams_over_two_gateways_and_two_workers(system: System) -> None:
    """Every stream in its own order, whoever takes and whoever tells."""

    async def one_camera(takes: aiohttp.ClientSession, tells: aiohttp.ClientSession, frames: int) -> list[dict[str, Any]]:
        stream = await make(takes, "misbehaver")
        async with sending(takes, stream) as (sender, _):
            for number in range(frames):
                sender.frame(b"", {"mark": str(number)})
            sender.end()
            return [answer async for answer in answers(tells, stream)]

    async with two_gateways(system) as (_, (one, other)):
        cameras = [one_camera(one, other, 40) for _ in range(3)] + [one_camera(other, one, 40) for _ in range(3)]
        for found in await asyncio.gather(*cameras):
            assert [answer["mark"] for answer in found] == [str(number) for number in range(40)]
            assert found[-1]["marks"] == [str(number) for number in range(40)]
