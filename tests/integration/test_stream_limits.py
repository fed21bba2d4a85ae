"""What a gateway does with readers that do not read, with too many connections, and with tickets that come late."""

from __future__ import annotations

import asyncio
import base64
import os
import socket as sockets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.integration.conftest import DEMO
from tests.integration.frame_streams import FINAL, MULTIPART, collect, make, next_answer, old_parse, part, path, socket, until
from tests.integration.processes import Process, System, running_system

SETTINGS = {
    "STREAM_UNREAD": "8",
    "STREAM_CONNECTIONS": "3",
    "STREAM_TICKET_SECONDS": "0.2",
    "STREAM_FRAME_SECONDS": "1",
    "STREAM_PARAMETERS_BYTES": "20000",
    "STREAM_ORIGINS": "https://pages.example, http://other.example/",
    "BODY_BYTES": "200000",
    "JSON_BYTES": "100000",
    "BODY_SECONDS": "1",
    "SESSION_SECONDS": "10",
}
#: So many bytes of marks in an answer, with every frame more, that a connection that is not read is full after a few.
LARGE = 150_000


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("limits"), SETTINGS) as made:
        made.credentials = DEMO
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(system: System) -> Process:
    process = system.start("up", "dummy", "misbehaver")
    await process.ready()
    return process


@pytest.fixture
async def client(system: System, gateway: Process) -> AsyncIterator[aiohttp.ClientSession]:
    async with system.client(gateway) as session:
        yield session


async def closed_for(client: aiohttp.ClientSession, reason: str) -> float:
    """How many connections the gateway has closed for a reason."""
    async with client.get("/metrics") as response:
        text = await response.text()
    name = f'sensorium_stream_closed_total{{reason="{reason}"}} '
    return next((float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name)), 0.0)


async def connect(gateway: Process, stream: dict[str, Any], address: str, *headers: str) -> sockets.socket:
    """A connection that takes little, whose request is sent and of which nothing is read."""
    loop, plain = asyncio.get_running_loop(), sockets.socket()
    plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    plain.setblocking(False)
    await loop.sock_connect(plain, ("127.0.0.1", gateway.port))
    basic = base64.b64encode(":".join(DEMO).encode()).decode()
    lines = [f"GET {path(stream[address])} HTTP/1.1", f"Host: 127.0.0.1:{gateway.port}", f"Authorization: Basic {basic}", *headers]
    await loop.sock_sendall(plain, ("\r\n".join(lines) + "\r\n\r\n").encode())
    return plain


async def read_to_the_end(plain: sockets.socket) -> bytes:
    data, loop = b"", asyncio.get_running_loop()
    with plain:
        async with asyncio.timeout(20):
            while piece := await loop.sock_recv(plain, 1 << 20):
                data += piece
    return data


async def overrun(client: aiohttp.ClientSession, stream: dict[str, Any]) -> None:
    """Frames until somebody is closed for reading too slowly."""
    before = await closed_for(client, "slow_reader")
    for _ in range(40):
        async with client.post(path(stream["input"]), data=part(b"x" * LARGE, data_field="mark"), headers=MULTIPART) as response:
            assert response.status == 200
        if await closed_for(client, "slow_reader") > before:
            return

    async def is_closed() -> bool:
        return await closed_for(client, "slow_reader") > before

    await until(is_closed)


async def test_a_slow_reader_of_the_output_is_told_why_it_is_closed(client: aiohttp.ClientSession, gateway: Process) -> None:
    stream = await make(client, "misbehaver")
    plain = await connect(gateway, stream, "output", "Connection: close")
    await overrun(client, stream)
    text = (await read_to_the_end(plain)).decode()
    assert '"code":"slow_reader"' in text
    assert '"stream":{"closed":true}' in text
    assert text.endswith("--myboundary--\r\n\r\n0\r\n\r\n")
    async with client.get(path(stream["url"])) as response:
        assert not (await response.json())["ended"]


async def test_one_that_never_reads_is_cut_off(client: aiohttp.ClientSession, gateway: Process) -> None:
    stream = await make(client, "misbehaver")
    plain = await connect(gateway, stream, "output", "Connection: close")
    await overrun(client, stream)

    async def nobody_is_left() -> bool:
        async with client.get("/metrics") as response:
            return 'sensorium_stream_connections{form="output"} 0.0' in await response.text()

    await until(nobody_is_left)
    text = (await read_to_the_end(plain)).decode()
    assert not text.endswith("0\r\n\r\n")


async def test_a_slow_reader_of_a_websocket_is_told_why_it_is_closed(client: aiohttp.ClientSession, gateway: Process) -> None:
    stream = await make(client, "misbehaver")
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}")
    plain = await connect(gateway, stream, "url", *upgrade)
    await overrun(client, stream)
    data = await read_to_the_end(plain)
    start = data.rindex(b"\x88")  # the close frame: its length, its code, its reason
    code, reason = int.from_bytes(data[start + 2 : start + 4], "big"), data[start + 4 :].decode()
    assert (data[start + 1], code) == (len(reason) + 2, 4408)
    assert "waited to be read" in reason


async def test_who_comes_back_is_told_how_much_was_missed(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy")
    async with client.post(path(stream["input"]), data=part(b"") * 20 + FINAL, headers=MULTIPART) as response:
        assert response.status == 200
    found = await collect(client, stream, "?after=3")
    assert [answer["stream"]["frame"] for answer in found] == list(range(13, 21))
    assert [answer["stream"].get("missed", 0) for answer in found] == [9, *[0] * 7]


async def test_there_are_so_many_connections_and_no_more(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy")
    async with socket(client, stream) as one, socket(client, stream), socket(client, stream):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(path(stream["url"]))
        assert refused.value.status == 503
        async with client.get(path(stream["output"])) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "2")
        await one.send_bytes(b"")
        assert (await next_answer(one))["count"] == 1

    async def there_is_room() -> bool:
        async with client.get("/metrics") as response:
            return 'sensorium_stream_connections{form="websocket"} 0.0' in await response.text()

    await until(there_is_room)
    async with socket(client, stream) as one:
        await one.send_bytes(b"")
        assert (await next_answer(one))["count"] == 2


async def test_a_ticket_does_not_last(client: aiohttp.ClientSession, gateway: Process) -> None:
    stream = await make(client, "dummy")
    async with aiohttp.ClientSession(gateway.url) as page:
        await asyncio.sleep(0.3)  # time itself is what is tested
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await page.ws_connect(path(stream["url"]) + f"?ticket={stream['ticket']}")
        assert refused.value.status == 401


async def test_pages_of_origins_that_are_named_may(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy")
    for origin in ("https://pages.example", "http://other.example"):
        async with client.ws_connect(path(stream["url"]), headers={"Origin": origin}) as opened:
            await opened.send_bytes(b"")
            assert (await next_answer(opened))["status"] == 201


async def test_a_frame_has_its_own_deadline(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    stream = await make(client, "misbehaver")
    async with socket(client, stream) as opened:
        await opened.send_str(f'{{"deed": "hang", "seconds": 2, "once": "{tmp_path / "begun"}"}}')
        begin = time.monotonic()
        await opened.send_bytes(b"")
        await opened.send_bytes(b"")
        found = [await next_answer(opened), await next_answer(opened)]
    assert [answer.get("code") for answer in found] == [None, "deadline_exceeded"]
    assert time.monotonic() - begin < 4


async def test_parameters_have_a_limit(client: aiohttp.ClientSession) -> None:
    large = {"echo": "x" * 20_000}
    async with client.post("/services/dummy/1/streams", json=large) as response:
        assert response.status == 413
    stream = await make(client, "dummy")
    async with client.post(path(stream["input"]), data=part(b"", large) + part(b"") + FINAL, headers=MULTIPART) as response:
        assert response.status == 200
    assert [answer["status"] for answer in await collect(client, stream)] == [400, 201]
    async with client.post(path(stream["input"]), data=part(b"", {"echo": "x" * 40_000}), headers=MULTIPART) as response:
        assert response.status == 410
    stream = await make(client, "dummy")
    async with client.post(path(stream["input"]), data=part(b"", {"echo": "x" * 40_000}), headers=MULTIPART) as response:
        assert (response.status, "has no end within" in (await response.json(content_type=None))["error"]) == (400, True)


async def test_a_frame_that_is_too_large_is_answered(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy")
    async with socket(client, stream) as opened:
        await opened.send_bytes(b"x" * 200_001)
        await opened.send_bytes(b"x" * 200_000)
        found = [await next_answer(opened), await next_answer(opened)]
    assert [(answer["status"], answer.get("count")) for answer in found] == [(413, None), (201, 1)]


async def test_a_slow_part_is_refused_while_the_stream_may_take_for_ever(client: aiohttp.ClientSession) -> None:
    """The time of a body (one second here) is the time of a part."""
    stream = await make(client, "dummy")

    async def frames(last: bytes) -> AsyncIterator[bytes]:
        for _ in range(4):
            yield part(b"")
            await asyncio.sleep(0.4)
        yield last

    async with client.post(path(stream["input"]), data=frames(part(b"")), headers=MULTIPART) as response:
        assert (response.status, (await response.json())["frames"]) == (200, 5)

    async def stuck() -> AsyncIterator[bytes]:
        yield part(b"abc")[:-4]
        await asyncio.sleep(5)

    async with client.post(path(stream["input"]), data=stuck(), headers=MULTIPART) as response:
        problem = await response.json(content_type=None)
        assert (response.status, "Part 1 came too slowly" in problem["error"]) == (408, True)


def test_the_client_of_2018_reads_what_this_test_reads() -> None:
    """`old_parse` waits for a character after the part, counts characters, and leaves the rest."""
    text = '--myboundary\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}'
    assert old_parse(text) == (text, None)
    assert old_parse(text + "\r\n--my") == ("--my", '{"a": 1}')
