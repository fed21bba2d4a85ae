"""The server's border, with raw sockets: what two servers might read differently is refused, and every error is a problem."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http.server import FIELD_BYTES, FIELDS, LINE_BYTES
from tests.contract.border import PATIENCE, Server, chunked, post, server

__all__ = ["server"]

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
