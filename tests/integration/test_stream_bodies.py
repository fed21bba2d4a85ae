"""Whatever is sent as a stream of frames, the answer is never 500, and the gateway goes on."""

from __future__ import annotations

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.frame_streams import FINAL, MULTIPART, collect, make, part, path

RELAXED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

pieces = st.sampled_from(
    [
        part(b""),
        part(b"abc", {"echo": "x"}),
        part(b"abc", {"echo": 5}),
        part(b"abc", {"async": "no", "state": {"session_id": 5}, "stream": 1}),
        part(b"\r\n--myboundary\r\n\r\n"),
        part(b"abc", length=10**9),
        b"--myboundary\r\n",
        b"--myboundary\r\n\r\n",
        b"--myboundary\r\nContent-Length: -1\r\n\r\n",
        b"--myboundary\r\nContent-Length: 3\r\nX-Angus-Parameters: \xff\xfe\r\nX-Angus-DataField: \xff\r\n\r\nabc\r\n",
        b'--myboundary\r\nContent-Length: 3\r\nX-Angus-Parameters: {"echo": "\\ud800"}\r\n\r\nabc\r\n',
        b"--myboundary--\r\n",
        b"\r\n",
        b"\x00\xff",
        FINAL,
    ]
)


@RELAXED
@given(body=st.lists(pieces, max_size=6).map(b"".join), cut=st.integers(0, 40))
async def test_a_body(client: aiohttp.ClientSession, body: bytes, cut: int) -> None:
    stream = await make(client, "dummy")
    async with client.post(path(stream["input"]), data=body[: len(body) - cut] or b" ", headers=MULTIPART) as response:
        document = await response.json(content_type=None)
        assert response.status in (200, 400, 413), document
        assert document["status"] == response.status
    async with client.delete(path(stream["url"])) as response:
        assert response.status == 204
    for answer in await collect(client, stream):
        assert answer["status"] in (201, 400, 410), answer


@RELAXED
@given(
    messages=st.lists(
        st.one_of(st.binary(max_size=50), st.sampled_from(["", "{}", "[", "5", '{"echo": 5}', '{"echo": "x"}', "\x00"])), max_size=6
    )
)
async def test_messages(client: aiohttp.ClientSession, messages: list[bytes | str]) -> None:
    stream = await make(client, "dummy")
    frames = sum(isinstance(message, bytes) for message in messages)
    async with client.ws_connect(path(stream["url"])) as opened:
        for message in messages:
            await (opened.send_bytes(message) if isinstance(message, bytes) else opened.send_str(message))
        for number in range(1, frames + 1):
            answer = await opened.receive_json(timeout=20)
            assert (answer["stream"]["frame"], answer["status"] in (201, 400)) == (number, True)


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "websocket"},
        {"Upgrade": "websocket", "Connection": "Upgrade"},
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "12", "Sec-WebSocket-Key": "x"},
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "not base64"},
    ],
)
async def test_a_handshake_that_is_none(client: aiohttp.ClientSession, headers: dict[str, str]) -> None:
    stream = await make(client, "dummy")
    async with client.get(path(stream["url"]), headers=headers) as response:
        problem = await response.json(content_type=None)
        assert (response.status, problem["status"]) == (400, 400)


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=", "after=99999999999999999999"])
async def test_a_number_that_is_none(client: aiohttp.ClientSession, query: str) -> None:
    stream = await make(client, "dummy")
    async with client.get(path(stream["output"]) + f"?{query}") as response:
        problem = await response.json(content_type=None)
        assert (response.status, problem["parameter"]) == (400, "after")


async def test_a_number_that_is_still_to_come_is_the_last_there_was(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy")
    async with client.ws_connect(path(stream["url"]) + "?after=1000") as opened:
        await opened.send_bytes(b"")
        assert (await opened.receive_json(timeout=20))["stream"]["frame"] == 1
