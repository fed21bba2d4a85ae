"""The server's border, with raw sockets: what is too large, too slow, too many or no document gets a 4xx or a closed connection."""

from __future__ import annotations

import asyncio
import gzip
import json
import time

import pytest

from shared.metrics import CONNECTIONS
from tests.contract.border import PATIENCE, Client, Server, chunked, post, server

__all__ = ["server"]

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
