"""One connection to RabbitMQ that is kept, and what is opened on it.

aio-pika's robust connection restores its objects by itself, but whether it did so can neither be seen nor bounded in time,
and its publish costs twice the processor time of what is underneath. So the adapter uses aiormq, the AMQP half of aio-pika,
and one loop, `Link.keep`, opens whatever was lost - connection, publishing channel, consumer - and opens it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiormq import Channel, Connection
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import AMQPError, ConnectionClosed
from yarl import URL

from shared.aio import LONGEST_PAUSE, backoff
from shared.errors import BrokerAway
from shared.log import get_logger

log = get_logger(__name__)


@asynccontextmanager
async def answering(limit: float | None, what: str) -> AsyncIterator[None]:
    """Raise `BrokerAway` for everything that goes wrong between us and the broker, and after ``limit`` seconds."""
    try:
        async with asyncio.timeout(limit):
            yield
    except TimeoutError as error:
        raise BrokerAway(f"The message broker does not answer: {what}") from error
    except (AMQPError, OSError, RuntimeError, EOFError) as error:
        raise BrokerAway(f"The message broker is away: {what}") from error
    except asyncio.CancelledError as error:
        # aiormq ends the calls of a lost connection with this, too, although nobody cancelled the caller.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerAway(f"The connection to the message broker was lost: {what}") from error


def usable(channel: Channel) -> bool:
    """Whether frames may still be sent: not once the broker closed the channel, even while aiormq tidies up after it."""
    return not channel.is_closed and channel.connection.channels.get(channel.number) is channel


class Link:
    """A connection, opened again by `run` whenever it is lost. ``limit`` (seconds) bounds every answer of the broker."""

    def __init__(self, url: URL, purpose: str, heartbeat: int, limit: float) -> None:
        # The broker counts two missed intervals, we one: a peer that went silent is noticed by both within ``heartbeat``.
        self._url = url.update_query(heartbeat=max(1, heartbeat // 2), name=f"sensorium {purpose}")
        self._purpose = purpose
        self._heartbeat = heartbeat
        self.limit = limit
        self._connection: _Connection | None = None
        self._up = asyncio.Event()

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        await _again(self._connect, self._purpose, self._up.clear)

    async def connection(self) -> Connection:
        """The open connection, waited for as long as it takes."""
        while self._connection is None or self._connection.is_closed:
            self._up.clear()
            await self._up.wait()
        return self._connection

    @property
    def backlog(self) -> int:
        """Bytes written that the broker has not taken from us yet."""
        return self._connection.transport.backlog if self._connection is not None else 0

    async def keep(self, what: str, open_: Callable[[Connection], Awaitable[asyncio.Future[None]]]) -> None:
        """Call ``open_``, again each time that the future it returns says that what it opened is lost."""

        async def attempt() -> asyncio.Future[None]:
            connection = await self.connection()
            async with answering(self._heartbeat, what):
                return await open_(connection)

        await _again(attempt, what)

    @asynccontextmanager
    async def channel(self, what: str) -> AsyncIterator[Channel]:
        """A channel for questions: a refusal closes it, so each question gets its own. Bounded, raises `BrokerAway`."""
        async with answering(self.limit, what):
            connection = await self.connection()
            channel = await open_channel(connection)
            try:
                yield channel
            finally:
                if usable(channel):
                    await channel.close()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(BrokerAway):
            async with answering(self.limit, "closing"):
                await connection.close(ConnectionClosed(200, "closed by us"))
        connection.transport.abort()

    async def _connect(self) -> asyncio.Future[None]:
        async with answering(self._heartbeat, f"connecting to {self._url.host}:{self._url.port}"):
            connection = _Connection(self._url)
            await connection.connect()
            await connection.connected.wait()
        self._connection = connection
        self._up.set()
        log.info("broker.connected", purpose=self._purpose)
        return closed(connection)


class _Connection(Connection):
    """aiormq's, which by itself tolerates three times the heartbeat, and whose socket it hides."""

    HEARTBEAT_GRACE_MULTIPLIER = 1

    def __init__(self, url: URL) -> None:
        self.transport = _Transport(TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory())
        super().__init__(url, transport_factory=self.transport)


class _Transport(TransportFactory):
    """Opens the socket and remembers it."""

    def __init__(self, factory: TransportFactory) -> None:
        self._factory = factory
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await self._factory.create(url, **options)
        return reader, self._writer

    @property
    def backlog(self) -> int:
        return self._writer.transport.get_write_buffer_size() if self._writer is not None else 0

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


async def open_channel(connection: Connection, *, confirms: bool = False) -> Channel:
    """A channel; ``confirms``: for publishing, where what cannot be routed raises."""
    channel = await connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
    assert isinstance(channel, Channel)  # noqa: S101 - aiormq promises less than it gives
    return channel


def closed(thing: Connection | Channel) -> asyncio.Future[None]:
    """A future that is done once the connection or channel is closed, whatever the reason."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    thing.closing.add_done_callback(lambda _: lose(future))
    return future


def lose(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def quieten() -> None:
    """Every loss is logged here as one event; aiormq would add stack traces of its own."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)


async def _again(
    attempt: Callable[[], Awaitable[asyncio.Future[None]]],
    what: str,
    after: Callable[[], None] | None = None,
) -> None:
    failures = 0
    while True:
        try:
            lost = await attempt()
        except BrokerAway as error:
            log.warning("broker.unreachable", what=what, reason=error.message, cause=repr(error.__cause__))
        except Exception:
            log.exception("broker.failed", what=what)
        else:
            started = asyncio.get_running_loop().time()
            await asyncio.wait([lost])  # rather than `await lost`, which would cancel it with us
            log.warning("broker.lost", what=what)
            if asyncio.get_running_loop().time() - started > LONGEST_PAUSE:
                failures = 0
        if after is not None:
            after()
        await asyncio.sleep(backoff(failures))
        failures += 1
