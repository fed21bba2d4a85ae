"""The server's border, with raw sockets: whatever comes, the answer is a 4xx or a closed connection, and others are served."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web

from gateway.limits import RequestLimits
from gateway.middleware import middleware
from gateway.parsing import read_document
from gateway.server import FIELD_BYTES, FIELDS, LINE_BYTES, GuardedRunner
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


# Bodies


async def test_a_document_arrives(server: Server) -> None:
    answer = await server.ask(post(b'{"a": 1}'))
    assert (answer.status, json.loads(answer.body)["parameters"]) == (201, {"a": 1})
    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")


async def test_a_document_arrives_in_pieces_and_chunks(server: Server) -> None:
    answer = await server.ask(*chunked([b'{"a":', b' "' + b"x" * 40_000, b'"}']), b"0\r\n\r\n")
    assert len(json.loads(answer.body)["parameters"]["a"]) == 40_000
    async with server.connect() as client:
        for byte in post(b'{"a": 1}'):
            await client.send(bytes([byte]))
        assert (await client.answer()).status == 201


async def test_an_honest_length_over_the_limit_is_refused_before_the_body(server: Server) -> None:
    async with server.connect() as client:
        await client.send(post(b"", length=100_000_000))
        answer = await client.answer()
        assert answer.status == 413
        assert "200000 bytes" in str(answer.problem()["error"])
        assert answer.headers["connection"] == "close"
        assert await client.closed()


async def test_a_client_that_asks_first_is_told_before_it_sends(server: Server) -> None:
    async with server.connect() as client:
        await client.send(post(b"", "Expect: 100-continue", length=100_000_000))
        assert (await client.answer()).status == 413
    async with server.connect() as client:
        await client.send(post(b"", "Expect: 100-continue", length=8))
        assert (await client.answer()).status == 100
        await client.send(b'{"a": 1}')
        assert (await client.answer()).status == 201
    assert (await server.ask(post(b"{}", "Expect: a miracle"))).problem()["code"] == "malformed_request"


async def test_chunks_without_end_are_refused_as_the_counter_passes_the_limit(server: Server) -> None:
    async with server.connect() as client:

        async def pour() -> int:
            sent = 0
            header, piece = chunked([b"x" * 65_536])
            try:
                await client.send(header)
                while True:
                    await client.send(piece)
                    sent += len(piece)
            except ConnectionError:
                return sent

        pouring = asyncio.create_task(pour())
        answer = await client.answer()
        assert answer.status == 413
        assert "200000 bytes" in str(answer.problem()["error"])
        async with asyncio.timeout(PATIENCE):
            await pouring


async def test_a_body_shorter_than_its_length_is_no_request(server: Server) -> None:
    async with server.connect() as client:
        await client.send(post(b'{"a": 1}', length=100))
        client.writer.write_eof()
        assert await client.closed()
    async with server.connect() as client:
        await client.send(post(b'{"a": 1}', length=100))
        assert (await client.answer()).status == 408


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, identity", "nonsense"])
async def test_compressed_bodies_are_refused(server: Server, encoding: str) -> None:
    answer = await server.ask(post(gzip.compress(b"[" + b"0," * 20_000_000 + b"0]"), f"Content-Encoding: {encoding}"))
    assert (answer.status, answer.problem()["code"]) == (415, "unsupported_encoding")


async def test_identity_is_no_compression(server: Server) -> None:
    assert (await server.ask(post(b"{}", "Content-Encoding: identity"))).status == 201


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json; charset=UTF-8", b"{}", 201),
        ("APPLICATION/JSON", b"{}", 201),
        ("text/json", b"{}", 201),
        (None, b'{"a": 1}', 201),
        ("application/x-www-form-urlencoded", b' {"a": 1}', 201),
        ("application/x-www-form-urlencoded", b"a=1", 415),
        (None, b"a=1", 415),
        (None, b"", 415),
        ("text/plain", b"{}", 415),
        ("image/jpeg", b"\xff\xd8\xff", 415),
        ("multipart/mixed; boundary=b", b"--b--", 415),
        ("application/json; charset=utf-16", b"{}", 415),
        ("application/json", b"", 400),
        ("application/json", b"[]", 400),
        ("application/json", b'"text"', 400),
        ("application/json", b"null", 400),
        ("multipart/form-data", b"--b--", 400),
    ],
)
async def test_media_types(server: Server, content_type: str | None, body: bytes, status: int) -> None:
    answer = await server.ask(post(body, content_type=content_type))
    assert answer.status == status
    if status == 415:
        assert "application/json" in str(answer.problem()["error"]) or "UTF-8" in str(answer.problem()["error"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 10_000 + b"]" * 10_000, 400),
        (b'{"a": 1, "a": 2}', 400),
        (b'{"a": NaN}', 400),
        (b'{"a": Infinity}', 400),
        (b'{"a": ' + b"9" * 400 + b"}", 400),
        (rb'{"a": "\ud800"}', 400),
        (b"\xef\xbb\xbf{}", 400),
        (b'{"a": "\xff"}', 400),
        (b'{"a"', 400),
        (b'{"a": "' + b"x" * 60_000 + b'"}', 413),
    ],
)
async def test_json(server: Server, body: bytes, status: int) -> None:
    answer = await server.ask(post(body))
    assert (answer.status, len(answer.problem()["error"]) < 300) == (status, True)  # type: ignore[arg-type]


def field(name: str, data: bytes = b"{}", *more: str) -> bytes:
    return "\r\n".join(["--b", f'Content-Disposition: form-data; name="{name}"', *more]).encode() + b"\r\n\r\n" + data + b"\r\n"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (field("meta") + field("attachment://a", b"x" * 150_000) + b"--b--", 201, ""),
        (field("meta") + field("attachment://unused", b"x") + field("other", b"x") + b"--b--", 201, ""),
        (field("meta", b'{"a": NaN}') + b"--b--", 400, "NaN"),
        (field("meta", b"[]") + b"--b--", 400, "object"),
        (field("meta", b"") + b"--b--", 400, "no body"),
        (field("meta") + field("meta") + b"--b--", 400, "two parts"),
        (field("attachment://a") + b"--b--", 400, "no part meta"),
        (field("meta") + field("a", b"", "Content-Type: multipart/mixed; boundary=c") + b"--b--", 400, "multipart body itself"),
        (b"".join(field(f"attachment://{number}", b"") for number in range(1000)) + b"--b--", 413, "more than 8 parts"),
        (field("meta", b"{}", "X-Long: " + "x" * 100_000) + b"--b--", 400, "8192 bytes"),
        (b"preamble without end" * 5_000, 400, "begin"),
        (field("meta"), 400, "final boundary"),
        (field("meta") + b"--b--" + b"epilogue" * 10_000, 201, ""),
        (field("meta") + field("attachment://a", b"x" * 250_000) + b"--b--", 413, "200000 bytes"),
        (field("meta", b'{"a": "' + b"x" * 60_000 + b'"}') + b"--b--", 413, "50000 bytes"),
    ],
)
async def test_multipart(server: Server, body: bytes, status: int, reason: str) -> None:
    answer = await server.ask(post(body, content_type="multipart/form-data; boundary=b"))
    assert answer.status == status
    assert not reason or reason in str(answer.problem()["error"])


# Slow and many connections


async def test_half_a_header_is_closed_in_time(server: Server) -> None:
    async with server.connect() as client:
        begin = time.monotonic()
        await client.send(b"POST /jobs HTTP/1.1\r\nHost: a\r\n")
        assert await client.closed()
        assert 0.2 < time.monotonic() - begin < 1.8


async def test_a_header_that_trickles_in_is_closed_in_time(server: Server) -> None:
    async with server.connect() as client:
        begin = time.monotonic()
        trickle = asyncio.create_task(_trickle(client, b"POST /jobs HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000, 0.05))
        assert await client.closed()
        assert time.monotonic() - begin < 1.8
        trickle.cancel()


async def test_a_silent_connection_is_closed_in_time(server: Server) -> None:
    async with server.connect() as client:
        begin = time.monotonic()
        assert await client.closed()
        assert 0.2 < time.monotonic() - begin < 1.8


async def test_an_idle_connection_lives_longer_but_its_next_header_does_not(server: Server) -> None:
    async with server.connect() as client:
        await client.send(post(b"{}"))
        assert (await client.answer()).status == 201
        await asyncio.sleep(0.5)  # longer than a header may take, shorter than a connection may be idle
        await client.send(post(b"{}"))
        assert (await client.answer()).status == 201
        begin = time.monotonic()
        await client.send(b"POST /jobs")
        assert await client.closed()
        assert 0.2 < time.monotonic() - begin < 1.8


async def test_an_idle_connection_is_closed_in_time(server: Server) -> None:
    async with server.connect() as client:
        await client.send(post(b"{}"))
        await client.answer()
        begin = time.monotonic()
        assert await client.closed()
        assert 1.5 < time.monotonic() - begin < 6


async def test_half_a_header_behind_a_request_at_work_does_not_cost_its_answer(server: Server) -> None:
    async with server.connect() as client:
        await client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.1)  # the first request is at work
        await client.send(b"GET /slow HT")
        assert (await client.answer()).status == 200
        assert await client.closed()


async def test_a_long_answer_is_not_taken_for_a_slow_header(server: Server) -> None:
    async with server.connect() as client:
        for _ in range(2):
            await client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.answer()).status == 200


async def test_a_slow_body_is_refused_after_its_grace(server: Server) -> None:
    async with server.connect() as client:
        begin = time.monotonic()
        trickle = asyncio.create_task(_trickle(client, post(b"", length=10_000) + b" " * 10_000, 0.02))
        answer = await client.answer()
        assert (answer.status, answer.problem()["code"]) == (408, "request_timeout")
        assert "100000 bytes a second" in str(answer.problem()["error"])
        assert 0.2 < time.monotonic() - begin < 3
        trickle.cancel()


async def test_a_body_that_keeps_the_rate_has_its_whole_time_and_no_more(server: Server) -> None:
    async with server.connect() as client:
        begin = time.monotonic()
        await client.send(post(b'{"a": "' + b"x" * 150_000, length=180_000))
        answer = await client.answer()
        assert answer.status == 408
        assert "within 1 seconds" in str(answer.problem()["error"])
        assert 0.9 < time.monotonic() - begin < 4


async def test_connections_of_one_address_are_bounded_and_come_back(server: Server) -> None:
    clients = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
    async with server.connect() as one_more:
        assert await one_more.closed()
    for _, writer in clients:
        writer.close()
    for _, writer in clients:
        await writer.wait_closed()
    async with asyncio.timeout(PATIENCE):
        while CONNECTIONS._value.get():
            await asyncio.sleep(0.01)
    assert (await server.ask(post(b"{}"))).status == 201


async def _trickle(client: Client, data: bytes, pause: float) -> None:
    header_end = data.find(b"\r\n\r\n") + 4
    await client.send(data[:header_end])
    try:
        for byte in data[header_end:]:
            await client.send(bytes([byte]))
            await asyncio.sleep(pause)
    except ConnectionError:
        pass


# Requests that two servers might read differently


SMUGGLED = b"GET /fail/missing HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\n{}" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{}" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\n{}" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n{}" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\n{}" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\nContent-Type: application/json\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
        + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n-1\r\n{}\r\n0\r\n\r\n"
        + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n2\n{}\n0\n\n" + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n1\r\n{}\r\n0\r\n\r\n"
        + SMUGGLED,
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n" + SMUGGLED,
        b"POST /jobs HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
        b"GET /fail/missing HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
        b"GET /fail/missing HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        b"GET /fail/missing HTTP/1.1\r\nHost: a\r\n folded: c\r\n\r\n",
        b"GET /fail/missing HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /fail/missing HTTP/1.1\r\n\r\n",
        b"GET /fail/missing HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /" + b"x" * (LINE_BYTES + 10) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (FIELD_BYTES + 10) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (FIELDS + 10) + b"\r\n",
    ],
)
async def test_what_is_ambiguous_is_refused_and_nothing_behind_it_is_served(server: Server, data: bytes) -> None:
    async with server.connect() as client:
        await client.send(data)
        answer = await client.answer()
        assert 400 <= answer.status < 500
        assert answer.problem()["code"] in ("malformed_request", "unsupported_encoding")
        rest = b""
        try:
            async with asyncio.timeout(PATIENCE):
                rest = await client.reader.read()
        except ConnectionError:
            pass
        assert b"no such thing" not in rest
        assert b"HTTP/1.1 5" not in rest


async def test_an_upgrade_that_nobody_offers_is_an_ordinary_request(server: Server) -> None:
    upgrade = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    answer = await server.ask(b"GET /fail/missing HTTP/1.1\r\nHost: a\r\n" + upgrade)
    assert answer.status == 404


# Answers of the application


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, "not_found"),
        (b"GET /fail/missing HTTP/1.1\r\nHost: a\r\n\r\n", 404, "not_found"),
        (b"GET /%00%ff/../..//etc HTTP/1.1\r\nHost: a\r\n\r\n", 404, "not_found"),
        (b"GET /%ff%fe%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n", 404, "not_found"),
        (b"DELETE /jobs HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
        (b"GET /fail/full HTTP/1.1\r\nHost: a\r\n\r\n", 503, "queue_full"),
    ],
)
async def test_errors_are_problems(server: Server, data: bytes, status: int, code: str) -> None:
    answer = await server.ask(data)
    assert (answer.status, answer.problem()["code"]) == (status, code)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (answer.headers.get("allow"), answer.headers.get("retry-after")) == {405: ("POST", None), 503: (None, "3")}.get(
        status, (None, None)
    )


async def test_a_surprise_tells_nothing_but_a_reference(server: Server) -> None:
    answer = await server.ask(b"GET /fail/otherwise HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, answer.problem()["code"]) == (500, "service_failed")
    assert b"secret" not in answer.body
    assert b"KeyError" not in answer.body


async def test_a_client_that_leaves_in_the_middle_is_no_surprise(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    for data in (post(b'{"a"', length=100), chunked([b"{"])[0], post(b"", length=1000), b"POST /jobs HT"):
        async with server.connect() as client:
            await client.send(data)
    assert (await server.ask(post(b"{}"))).status == 201
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err
