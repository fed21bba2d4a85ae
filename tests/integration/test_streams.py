"""Streams of frames over HTTP, in both forms of the system."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.integration.frame_streams import collect, make, next_answer, sending, socket


async def test_a_service_tells_where_its_streams_are_made(client: aiohttp.ClientSession) -> None:
    async with client.get("/services/dummy/1") as response:
        document = await response.json()
    assert document["streams"] == f"{document['url']}/streams"


async def test_a_stream_of_the_original_client(client: aiohttp.ClientSession) -> None:
    """Input and output at once, one session, the answers in order, and an end that the client waits for."""
    stream = await make(client, "dummy")
    assert stream["status"] == 201
    async with sending(client, stream) as (sender, posted):
        reading = asyncio.create_task(collect(client, stream))
        for number in range(20):
            sender.frame(b"not looked at", {"echo": f"Grüße {number}"})
        sender.end()
        found = await reading
        status, document = await posted
    assert [answer["echo"] for answer in found] == [f"Grüße {number}" for number in range(20)]
    assert [answer["count"] for answer in found] == list(range(1, 21))
    assert [answer["stream"] for answer in found] == [{"frame": number, "dropped": 0} for number in range(1, 21)]
    assert (status, document) == (200, {"url": stream["url"], "status": 200, "frames": 20, "dropped": 0})


async def test_the_same_over_a_websocket(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy", echo="of the stream")
    async with socket(client, stream) as opened:
        await opened.send_bytes(b"one")
        await opened.send_str('{"echo": "of the message"}')
        await opened.send_bytes(b"two")
        await opened.send_bytes(b"three")
        found = [await next_answer(opened) for _ in range(3)]
    assert [answer["echo"] for answer in found] == ["of the stream", "of the message", "of the message"]
    assert [answer["count"] for answer in found] == [1, 2, 3]
