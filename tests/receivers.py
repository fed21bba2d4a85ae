"""Receivers of webhooks: one that takes everything, and every way to be difficult. The path of the address says which."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import standardwebhooks

_HUGE = 200_000_000


@dataclass
class Received:
    """A request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]

    def verify(self, secret: str) -> dict[str, Any]:
        """The document. Raises unless the signature is right and the time is now."""
        return standardwebhooks.Webhook(secret).verify(self.body, self.headers)  # type: ignore[no-any-return]


@dataclass
class Receiver:
    """``received`` grows with each request; `wait_for` waits for it. ``sent``: bytes of an endless answer that were taken."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    open: Counter[str] = field(default_factory=Counter)
    most_open: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _free: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Received]:
        return [one for one in self.received if one.path == path]

    async def wait_for(self, path: str, count: int = 1, seconds: float = 20.0) -> list[Received]:
        """At least so many requests to this path."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: len(self.at(path)) >= count)
        return self.at(path)

    def let_go(self) -> None:
        """Those that hold their answer back answer."""
        self._free.set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            one = await _read(reader)
            self.open[one.path] += 1
            self.most_open[one.path] = max(self.most_open[one.path], self.open[one.path])
            async with self._news:
                self.received.append(one)
                self._news.notify_all()
            await self._answer(one.path, writer)
            await writer.drain()
            self.open[one.path] -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        kind, _, number = path.lstrip("/").partition("/")
        if kind == "ok":
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif kind == "flaky":
            status = b"500 Oh" if len(self.at(path)) <= int(number) else b"200 OK"
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)
        elif kind == "gone":
            writer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
        elif kind == "redirect":
            writer.write(b"HTTP/1.1 307 There\r\nLocation: /ok/redirected\r\nContent-Length: 0\r\n\r\n")
        elif kind == "busy":
            writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
        elif kind == "garbage":
            writer.write(b"\x16\x03 this is not HTTP\r\n\r\n")
        elif kind == "slow":
            writer.write(b"HTTP/1.1 200")
            await self._free.wait()
        elif kind == "held":
            await self._free.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif kind == "huge":
            await self._pour(writer, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _HUGE, b"x" * 65_536)
        elif kind == "header":
            await self._pour(writer, b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 65_536)
        else:
            raise AssertionError(f"nobody answers at {path}")

    async def _pour(self, writer: asyncio.StreamWriter, begin: bytes, more: bytes) -> None:
        writer.write(begin)
        while self.sent < _HUGE:
            writer.write(more)
            await writer.drain()
            self.sent += len(more)


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    request, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    method, path, _ = request.split(" ")
    assert method == "POST"
    return Received(path, headers, await reader.readexactly(int(headers["content-length"])))


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver on a port of 127.0.0.1."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", port)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.let_go()
        server.close()
