"""A stream of frames while what is behind its gateway goes away and comes back."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import aiohttp
import pytest

from tests.integration.frame_streams import ClosedByServer, next_answer, socket
from tests.integration.processes import System
from tests.servers import RabbitMQ, Server

pytestmark = pytest.mark.timeout(240)


async def answers_until_it_went_well(opened: aiohttp.ClientWebSocketResponse) -> list[dict[str, object]]:
    """A frame after the other, as a camera sends them, until one has its result."""
    found: list[dict[str, object]] = []
    async with asyncio.timeout(60):
        while not found or found[-1]["status"] != 201:
            await opened.send_bytes(b"")
            found.append(await next_answer(opened))
    return found


async def test_while_the_broker_is_away_frames_are_answered_so(system: System, own_rabbitmq: RabbitMQ) -> None:
    """Each in its place; the connection and the session stay."""
    gateway = await system.gateway()
    await system.worker("dummy")
    async with system.client(gateway) as client:
        stream = await make_when_served(client)
        async with socket(client, stream) as opened:
            before = await answers_until_it_went_well(opened)
            await asyncio.to_thread(own_rabbitmq.stop)
            await opened.send_bytes(b"")
            refused = await next_answer(opened)
            assert (refused["status"], refused["code"] in ("broker_away", "no_worker")) == (503, True)
            await asyncio.to_thread(own_rabbitmq.start)
            after = await answers_until_it_went_well(opened)
        assert after[-1]["count"] == before[-1]["count"] + 1  # type: ignore[operator]
        numbers = [answer["stream"]["frame"] for answer in [*before, refused, *after]]  # type: ignore[index]
        assert numbers == list(range(1, len(numbers) + 1))


async def test_a_store_that_went_away_closes_the_stream_with_the_reason(system: System, own_redis: Server) -> None:
    gateway = await system.gateway()
    await system.worker("dummy")
    async with system.client(gateway) as client:
        stream = await make_when_served(client)
        async with socket(client, stream) as opened:
            await answers_until_it_went_well(opened)
            await asyncio.to_thread(own_redis.stop)
            await opened.send_bytes(b"")
            async with asyncio.timeout(60):
                while (message := await opened.receive()).type is aiohttp.WSMsgType.TEXT:
                    assert json.loads(message.data)["status"] == 503
            assert opened.close_code == 4503
        await asyncio.to_thread(own_redis.start)
        assert (await answers_of_a_stream_that_stays(client))[-1]["count"] == 1


async def answers_of_a_stream_that_stays(client: aiohttp.ClientSession) -> list[dict[str, object]]:
    """The gateway hears of results again a moment after the store takes its commands; a stream that is opened meanwhile is closed."""
    async with asyncio.timeout(60):
        while True:
            async with socket(client, await make_when_served(client)) as opened:
                with suppress(ClosedByServer):
                    return await answers_until_it_went_well(opened)
                assert opened.close_code == 4503


async def make_when_served(client: aiohttp.ClientSession) -> dict[str, object]:
    """A stream, once the gateway has heard of the worker and of its store."""
    async with asyncio.timeout(60):
        while True:
            async with client.post("/services/dummy/1/streams", json={}) as response:
                if response.status == 201:
                    made: dict[str, object] = await response.json()
                    return made
                assert response.status == 503, await response.text()
            await asyncio.sleep(0.1)
