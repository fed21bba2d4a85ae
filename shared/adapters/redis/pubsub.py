"""The one connection of a process over which Redis pushes messages.

Subscriptions are counted: the first one of a channel asks the server, the last one that is released is
forgotten a little later. A lost connection is opened again with a growing, jittered pause, the channels are
subscribed again, and then everybody who may have missed something is told.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool

from shared.adapters.redis.connection import AWAY, new_connection
from shared.adapters.redis.subscriptions import Channel, Subscriptions
from shared.aio import BackgroundTasks, backoff
from shared.errors import StoreAway
from shared.log import get_logger

log = get_logger(__name__)


class PushConnection:
    """The connection of the moment, if there is one, and whether the server has sent anything lately."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connection: AbstractConnection | None = None
        self._received = True
        #: Ends the reading of a connection on which the server is silent.
        self._limit: asyncio.Timeout | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    async def open(self) -> None:
        """Connect. Raises what `AWAY` lists."""
        connection = new_connection(self._pool)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection, self._received = connection, True

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def read(self, receive: Callable[..., None]) -> None:
        """Hand over what is pushed, until the connection is lost. Raises what `AWAY` lists."""
        async with asyncio.timeout(None) as self._limit:
            while self._connection is not None:
                message: Any = await self._connection.read_response(timeout=math.inf)
                self._received = True
                if type(message) is list:
                    receive(*message)

    async def send(self, *words: str) -> None:
        """Send, if there is a connection: after a loss everything is said again over the next one."""
        if self._connection is not None:
            try:
                await self._connection.send_command(*words, check_health=False)
            except AWAY as error:
                log.warning("store.feed_unsent", error=type(error).__name__)

    async def ping(self) -> bool:
        """Ask the server for a sign of life. False: it gave none since the last time, so `read` is ended."""
        if not self._received and self._limit is not None:
            log.warning("store.feed_silent")
            self._limit.reschedule(asyncio.get_running_loop().time())
            return False
        self._received = False
        await self.send("PING")
        return True


class PubSub:
    """Subscriptions of a process, kept alive."""

    def __init__(self, pool: ConnectionPool, seconds: float) -> None:
        """``seconds``: a subscription that is not confirmed within this time fails.

        A server that is silent twice as long is away.
        """
        self._seconds = seconds
        self._connection = PushConnection(pool)
        self._subscriptions = Subscriptions()
        self._tasks = BackgroundTasks()
        #: Whether the tasks that keep the connection were started: a process that follows nothing has none.
        self._started = False
        #: Whether a task is asking for what was acquired lately.
        self._subscribing = False
        self._away = False
        self._closed = False

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Call back after each connection, once all channels are subscribed: earlier messages are lost."""
        self._subscriptions.on_resume(callback)

    def acquire(self, name: str, receive: Callable[[bytes], None]) -> Channel:
        """A channel to wait for with `confirmed`, and to `release`. All share the first one's ``receive``."""
        channel = self._subscriptions.acquire(name, receive)
        if self._subscriptions.has_new and not self._closed:
            self._start()
        return channel

    def release(self, channel: Channel) -> None:
        """One user less. A channel without users is unsubscribed later: the next user often comes soon."""
        channel.users -= 1

    def require(self) -> None:
        """Raise `StoreAway` when the server is known to be away."""
        if self._away or self._closed:
            raise StoreAway("the store does not take subscriptions")

    async def confirmed(self, channel: Channel) -> None:
        """Return once messages of the channel arrive.

        Raises `StoreAway`, at once when the server is known to be away.
        """
        if channel.live.done():
            return
        self.require()
        try:
            async with asyncio.timeout(self._seconds):
                while not channel.live.done():
                    await asyncio.wait([channel.live])
        except TimeoutError:
            raise StoreAway("the store does not confirm a subscription") from None

    async def close(self) -> None:
        self._closed = True
        await self._tasks.cancel()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._tasks.start(self._keep_connected())
            self._tasks.start(self._watch())
        if self._connection.is_open and not self._subscribing:
            self._subscribing = True
            self._tasks.start(self._subscribe_new())

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    await self._connect()
                failures = 0
                await self._connection.read(self._subscriptions.receive)
            except AWAY as error:
                self._away = not self._connection.is_open  # lost a moment ago it may be back at once
                log.warning("store.feed_lost", error=type(error).__name__, channels=len(self._subscriptions))
            finally:
                self._subscriptions.lose_all()
                await self._connection.close()
            await asyncio.sleep(backoff(failures))
            failures += 1

    async def _connect(self) -> None:
        await self._connection.open()
        self._away = False
        if names := self._subscriptions.subscribe_all():
            await self._connection.send("SUBSCRIBE", *names)

    async def _subscribe_new(self) -> None:
        """Subscribe to what was asked for in this turn of the event loop."""
        try:
            while self._connection.is_open and (names := self._subscriptions.subscribe_new()):
                await self._connection.send("SUBSCRIBE", *names)
        finally:
            self._subscribing = False

    async def _watch(self) -> None:
        """Notice a server that says nothing at all, and forget the channels that nobody needs."""
        while True:
            await asyncio.sleep(self._seconds)
            if not self._connection.is_open or not await self._connection.ping():
                continue
            if idle := self._subscriptions.remove_idle():
                await self._connection.send("UNSUBSCRIBE", *idle)
