"""A client of streams that writes and reads the wire by hand, as the client of 2018 did."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

PATIENCE = 30.0


async def make(client: aiohttp.ClientSession, service: str, **parameters: Any) -> dict[str, Any]:
    """The document of a new stream."""
    async with client.post(f"/services/{service}/1/streams", json=parameters) as response:
        document: dict[str, Any] = await response.json(content_type=None)
        assert response.status == 201, document
        return document


def part(data: bytes, parameters: object = None, data_field: str = "image", length: int | None = None) -> bytes:
    """A frame exactly as `angus.client` 0.0.15 wrote it."""
    lines = [
        "--myboundary",
        "Content-Type: image/jpeg",
        f"Content-Length: {len(data) if length is None else length}",
        f"X-Angus-DataField: {data_field}",
        f"X-Angus-Parameters: {json.dumps({} if parameters is None else parameters)}",
        "",
    ]
    return "".join(line + "\r\n" for line in lines).encode() + data + b"\r\n"


FINAL = b"--myboundary--"
MULTIPART = {"Content-Type": "multipart/x-mixed-replace; boundary=myboundary"}


def old_parse(text: str) -> tuple[str, str | None]:
    """(rest, the first part or None): how the client of 2018 took answers out of what it had read, decoded, counting characters."""
    start = text.find("--myboundary\r\n")
    end = text.find("\r\n\r\n", start)
    if start == -1 or end == -1:
        return text, None
    end += 4
    found = re.search(r"Content-Length: (\w+)\r\n", text[start:end])
    assert found is not None
    length = int(found[1])
    if len(text) <= end + length:
        return text, None
    return text[end + 2 + length :], text[end : end + length]


@dataclass
class Sender:
    """The input of a stream: a body that is written piece by piece."""

    pieces: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)

    def frame(self, *arguments: Any, **options: Any) -> None:
        self.pieces.put_nowait(part(*arguments, **options))

    def write(self, piece: bytes) -> None:
        self.pieces.put_nowait(piece)

    def end(self, last: bytes = FINAL) -> None:
        self.pieces.put_nowait(last)
        self.pieces.put_nowait(None)

    async def body(self) -> AsyncIterator[bytes]:
        while (piece := await self.pieces.get()) is not None:
            if piece:
                yield piece


@asynccontextmanager
async def sending(client: aiohttp.ClientSession, stream: dict[str, Any]) -> AsyncIterator[tuple[Sender, asyncio.Task[tuple[int, Any]]]]:
    """A sender, and the task of its request: (status, document) in the end."""
    sender = Sender()

    async def post() -> tuple[int, Any]:
        async with client.post(path(stream["input"]), data=sender.body(), headers=MULTIPART) as response:
            return response.status, await response.json(content_type=None)

    task = asyncio.create_task(post())
    try:
        yield sender, task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def answers(client: aiohttp.ClientSession, stream: dict[str, Any], query: str = "") -> AsyncIterator[dict[str, Any]]:
    """The answers of the output, taken apart as the client of 2018 did."""
    text = ""
    async with client.get(path(stream["output"]) + query) as response:
        assert response.status == 200, await response.text()
        assert response.charset == "utf-8"
        async with asyncio.timeout(PATIENCE):
            async for data in response.content.iter_any():
                text += data.decode("ascii")
                while True:
                    text, found = old_parse(text)
                    if found is None:
                        break
                    yield json.loads(found)


async def collect(client: aiohttp.ClientSession, stream: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    """All answers, until the output ends."""
    return [answer async for answer in answers(client, stream, query)]


def path(url: str) -> str:
    """The address without its host, for a client with a base address (which may be another gateway)."""
    split = urlsplit(url)
    return split.path + (f"?{split.query}" if split.query else "")


@asynccontextmanager
async def socket(client: aiohttp.ClientSession, stream: dict[str, Any], query: str = "") -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with client.ws_connect(path(stream["url"]) + query, max_msg_size=0) as opened:
        yield opened


class ClosedByServer(AssertionError):
    """Instead of an answer; `close_code` has the reason."""


async def next_answer(opened: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    message = await opened.receive(PATIENCE)
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise ClosedByServer(message, opened.close_code)
    answer: dict[str, Any] = json.loads(message.data)
    return answer


async def until(check: Callable[[], bool] | Callable[[], Awaitable[bool]], limit: float = PATIENCE) -> None:
    """Ask until it says yes: what another process does has no event here."""
    async with asyncio.timeout(limit):
        while True:
            answer = check()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)


async def about(client: aiohttp.ClientSession, stream: dict[str, Any]) -> dict[str, Any]:
    """The stream as its address tells it."""
    async with client.get(path(stream["url"])) as response:
        document: dict[str, Any] = await response.json(content_type=None)
        return document


async def post_input(client: aiohttp.ClientSession, stream: dict[str, Any], body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    async with client.post(path(stream["input"]), data=body, headers={**MULTIPART, **headers}) as response:
        return response.status, await response.json(content_type=None)


async def first(found: Any, count: int) -> Any:
    async for answer in found:
        yield answer
        count -= 1
        if not count:
            return
