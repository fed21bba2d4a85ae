"""A TCP relay that breaks in chosen ways, to stand between a client and a real server.

    async with Proxy.before(server.url) as proxy:
        client = connect(proxy.url)
        proxy.swallow()      # what is sent disappears; nobody is told
        ...
        proxy.resume()

Every fault works on what passes from then on, for the connections that are open and those to come, until `resume`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

CHUNK_BYTES = 64 * 1024

Direction = Literal["up", "down"]
"""`up`: from the client to the server; `down`: back."""


class _Relay:
    """One client's connection and ours to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._writers = (client, server)
        self.spoilt = False  # something is missing in the middle
        self.gone = asyncio.Event()
        for writer in self._writers:
            # Makes drain() wait until the system has all of it, so that nothing promised to pass is lost by abort().
            writer.transport.set_write_buffer_limits(0)

    def abort(self) -> None:
        """Reset both sides, as a crashed machine's would be."""
        self.gone.set()
        for writer in self._writers:
            _reset(writer)

    def close(self) -> None:
        """End both sides in good order."""
        self.gone.set()
        for writer in self._writers:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        # A linger time of zero makes closing send RST instead of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Proxy:
    """Listens on a port of 127.0.0.1 and relays to one server. Use as an async context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: asyncio.Server | None = None
        self._relays: set[_Relay] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._url = ""
        self._severed = 0
        self._resume_state()

    @classmethod
    def before(cls, url: str) -> Self:
        """A proxy for the server at `url`, which must name host and port."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"no host and port in {url!r}")
        proxy = cls(parts.hostname, parts.port)
        proxy._url = url
        return proxy

    @property
    def port(self) -> int:
        """Where it listens. Only between enter and exit."""
        assert self._listener is not None, "not entered"
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The server's URL with the proxy's address in place of the server's. Only between enter and exit."""
        parts = urlsplit(self._url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}"))

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return sum(not relay.gone.is_set() for relay in self._relays)

    # Faults

    def cut_after(self, count: int, direction: Direction = "down") -> None:
        """Let `count` more bytes pass in one direction, over all connections together, then sever everything, once."""
        self._budget[direction] = count

    def delay(self, seconds: float) -> None:
        """Hold every chunk for so long before it is passed on, in both directions."""
        self._delay_s = seconds

    def swallow(self, direction: Direction | None = None) -> None:
        """A black hole: what is sent in this direction (None: both) is taken and lost, the end of a connection included.

        Connections are still accepted, by the proxy itself. Those that lost something are severed by `resume`.
        """
        self._swallowed |= {"up", "down"} if direction is None else {direction}

    def hold(self) -> None:
        """A network that stands still and loses nothing: whatever is sent arrives after `resume`."""
        self._flowing.clear()

    def sever(self) -> None:
        """Reset every open connection. New ones are served."""
        self._severed += 1
        for relay in list(self._relays):
            relay.abort()

    def refuse(self) -> None:
        """Reset every open connection, and every new one at once."""
        self._refusing = True
        self.sever()

    def resume(self) -> None:
        """End all faults."""
        for relay in list(self._relays):
            if relay.spoilt:
                relay.abort()
        self._resume_state()

    def _resume_state(self) -> None:
        self._delay_s = 0.0
        self._refusing = False
        self._swallowed: set[Direction] = set()
        self._budget: dict[Direction, int] = {}
        self._flowing.set()

    # Relaying

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._listener is not None
        self._listener.close()
        self.sever()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self._refusing:
            _reset(to_client)
            return
        severed = self._severed
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(to_client)
            return
        relay = _Relay(to_client, to_server)
        if self._severed != severed:  # while we were connecting
            relay.abort()
            return
        self._relays.add(relay)
        pumps = [
            asyncio.create_task(self._pump("up", from_client, to_server, relay)),
            asyncio.create_task(self._pump("down", from_server, to_client, relay)),
        ]
        self._tasks.update(pumps)
        await asyncio.wait(pumps)
        self._tasks.difference_update(pumps)
        self._relays.discard(relay)
        relay.close()

    async def _pump(self, direction: Direction, source: asyncio.StreamReader, sink: asyncio.StreamWriter, relay: _Relay) -> None:
        try:
            while chunk := await source.read(CHUNK_BYTES):
                await self._pass_on(direction, chunk, sink, relay)
            await self._pass_on_end(direction, sink, relay)
        except OSError:
            relay.abort()

    async def _pass_on(self, direction: Direction, chunk: bytes, sink: asyncio.StreamWriter, relay: _Relay) -> None:
        if direction in self._swallowed:
            relay.spoilt = True
            return
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        await self._flowing.wait()
        left = self._budget.get(direction, len(chunk) + 1)
        sink.write(chunk[:left])
        await sink.drain()
        if len(chunk) >= left:
            self._budget.pop(direction, None)
            self.sever()
        elif direction in self._budget:
            self._budget[direction] = left - len(chunk)

    async def _pass_on_end(self, direction: Direction, sink: asyncio.StreamWriter, relay: _Relay) -> None:
        """One side has said that it sends no more. A relay whose end was swallowed stays until `resume`."""
        if direction in self._swallowed:
            relay.spoilt = True
            await relay.gone.wait()
            return
        await self._flowing.wait()
        if not sink.is_closing() and sink.can_write_eof():
            sink.write_eof()
