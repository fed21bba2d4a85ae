"""The server's border around a handler that only reads, and a client that speaks to it byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web

from gateway.http.limits import RequestLimits
from gateway.http.middleware import middleware
from gateway.http.parsing import read_document
from gateway.http.server import GuardedRunner
from shared.errors import NotFound, QueueFull
from shared.metrics import CONNECTIONS
from shared.settings import Settings

SETTINGS = Settings(
    body_bytes=200_000,
    json_bytes=50_000,
    multipart_parts=8,
    header_seconds=0.3,
    body_seconds=1.0,
    body_bytes_per_second=100_000,
    keepalive_seconds=2.0,
    connections_per_address=20,
)
LIMITS = RequestLimits(
    body_bytes=200_000, json_bytes=50_000, multipart_parts=8, body_seconds=1.0, body_bytes_per_second=100_000, grace_seconds=0.3
)
PATIENCE = 8.0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict[str, object]:
        assert self.headers["content-type"] == "application/problem+json"
        found = json.loads(self.body)
        assert isinstance(found, dict)
        assert found["status"] == self.status
        return found


class Client:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *data: bytes) -> None:
        for piece in data:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(head[0].split()[1]), headers, body)

    async def closed(self) -> bool:
        """Whether the server closes the connection without another word."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read() == b""
        except ConnectionError:
            return True


@dataclass
class Server:
    port: int

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()

    async def ask(self, *data: bytes) -> Answer:
        async with self.connect() as client:
            await client.send(*data)
            return await client.answer()


async def accept(request: web.Request) -> web.Response:
    document = await read_document(request, LIMITS)
    sizes = {name: len(data) for name, data in document.attachments.items()}
    return web.json_response({"parameters": document.parameters, "attachments": sizes}, status=201)


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(0.6)
    return web.json_response({})


async def fail(request: web.Request) -> web.Response:
    if request.match_info["how"] == "missing":
        raise NotFound("there is no such thing")
    if request.match_info["how"] == "full":
        raise QueueFull(retry_after=3)
    raise KeyError("the secret of the house")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A gateway's border around a handler that only reads; after each test it still serves and holds no connection."""
    app = web.Application(middlewares=[middleware])
    app.add_routes([web.post("/jobs", accept), web.get("/slow", slow), web.get("/fail/{how}", fail)])
    runner = GuardedRunner(app, SETTINGS)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    running = Server(runner.addresses[0][1])
    yield running
    assert (await running.ask(post(b'{"still": "here"}'))).status == 201
    await runner.cleanup()
    assert CONNECTIONS._value.get() == 0


def post(body: bytes, *headers: str, content_type: str | None = "application/json", length: int | None = None) -> bytes:
    lines = ["POST /jobs HTTP/1.1", "Host: a", f"Content-Length: {len(body) if length is None else length}", *headers]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(pieces: Iterable[bytes], *headers: str) -> list[bytes]:
    lines = ["POST /jobs HTTP/1.1", "Host: a", "Content-Type: application/json", "Transfer-Encoding: chunked", *headers]
    return ["\r\n".join(lines).encode() + b"\r\n\r\n", *(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)]
