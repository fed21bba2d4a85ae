"""The proxy's faults are what they say, shown between a plain client and a plain server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.faults.proxy import Proxy

SOON_S = 5.0
LATER_S = 0.2


@asynccontextmanager
async def echo() -> AsyncIterator[Proxy]:
    """A proxy in front of a server that sends back what it gets."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(1024):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Proxy.before(f"scheme://user:secret@127.0.0.1:{port}/path?query") as proxy:
        yield proxy
    server.close()


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def of(cls, proxy: Proxy) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(SOON_S):
            return await self.reader.readexactly(count)

    async def silent(self) -> bool:
        """Whether nothing arrives, not even the connection's end."""
        try:
            async with asyncio.timeout(LATER_S):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    async def is_reset(self) -> bool:
        try:
            async with asyncio.timeout(SOON_S):
                return await self.reader.read() == b"never"
        except ConnectionResetError:
            return True


async def test_relays_and_passes_on_the_end() -> None:
    async with echo() as proxy:
        client = await Client.of(proxy)
        client.writer.write(b"x" * 200_000)
        client.writer.write_eof()
        assert await client.read(200_000) == b"x" * 200_000
        assert await client.reader.read() == b""


async def test_its_url_is_the_servers_with_another_address() -> None:
    async with echo() as proxy:
        assert proxy.url == f"scheme://user:secret@127.0.0.1:{proxy.port}/path?query"


async def test_cuts_after_exactly_so_many_bytes_and_once() -> None:
    async with echo() as proxy:
        proxy.cut_after(1500)
        client = await Client.of(proxy)
        client.writer.write(b"a" * 1000)
        assert await client.read(1000) == b"a" * 1000
        client.writer.write(b"b" * 1000)
        assert await client.read(500) == b"b" * 500
        assert await client.is_reset()
        again = await Client.of(proxy)
        again.writer.write(b"c" * 3000)
        assert await again.read(3000) == b"c" * 3000


async def test_delays() -> None:
    async with echo() as proxy:
        proxy.delay(LATER_S)
        client = await Client.of(proxy)
        started = asyncio.get_running_loop().time()
        client.writer.write(b"hello")
        assert await client.read(5) == b"hello"
        assert asyncio.get_running_loop().time() - started >= 2 * LATER_S


async def test_swallows_in_silence_and_severs_afterwards() -> None:
    async with echo() as proxy:
        client, idle = await Client.of(proxy), await Client.of(proxy)
        proxy.swallow("down")
        client.writer.write(b"hello")
        assert await client.silent()
        proxy.resume()
        assert await client.is_reset()
        idle.writer.write(b"unharmed")
        assert await idle.read(8) == b"unharmed"


async def test_a_swallowed_end_is_not_heard() -> None:
    async with echo() as proxy:
        client = await Client.of(proxy)
        proxy.swallow("up")
        client.writer.write_eof()
        assert await client.silent()
        proxy.resume()
        assert await client.is_reset()


async def test_holds_and_loses_nothing() -> None:
    async with echo() as proxy:
        client = await Client.of(proxy)
        proxy.hold()
        client.writer.write(b"hello")
        assert await client.silent()
        proxy.resume()
        assert await client.read(5) == b"hello"


async def test_severs_what_is_open_only() -> None:
    async with echo() as proxy:
        client = await Client.of(proxy)
        client.writer.write(b"x")
        await client.read(1)
        assert proxy.connections == 1
        proxy.sever()
        assert await client.is_reset()
        assert proxy.connections == 0
        again = await Client.of(proxy)
        again.writer.write(b"x")
        assert await again.read(1) == b"x"


async def test_refuses_until_resumed() -> None:
    async with echo() as proxy:
        client = await Client.of(proxy)
        proxy.refuse()
        assert await client.is_reset()
        assert await (await Client.of(proxy)).is_reset()
        proxy.resume()
        again = await Client.of(proxy)
        again.writer.write(b"x")
        assert await again.read(1) == b"x"


async def test_a_server_that_is_down_looks_down() -> None:
    async with Proxy.before("scheme://127.0.0.1:1") as proxy:
        assert await (await Client.of(proxy)).is_reset()


def test_needs_an_address() -> None:
    with pytest.raises(ValueError, match="no host and port"):
        Proxy.before("redis://localhost")
