"""The one connection of a process over which Redis pushes messages.

Subscriptions are counted: the first one of a channel asks the server, the last one that is released is forgotten a
little later. A lost connection is opened again with a growing, jittered pause, the channels are subscribed again, and
then everybody who may have missed something is told.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool

from shared.adapters.redis.connection import AWAY, new_connection
from shared.aio import backoff
from shared.errors import StoreAway
from shared.log import get_logger

log = get_logger(__name__)


class Channel:
    """A channel that somebody needs, and what to do with its messages."""

    __slots__ = ("live", "name", "receive", "users")

    def __init__(self, name: str, receive: Callable[[bytes], None]) -> None:
        self.name = name
        self.receive = receive
        self.users = 0
        #: Done once the server has confirmed the subscription that is in force.
        self.live: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Feed:
    """Subscriptions of a process, kept alive."""

    def __init__(self, pool: ConnectionPool, seconds: float) -> None:
        """``seconds``: a subscription that is not confirmed within this time fails, a server that is silent twice as long is away."""
        self._pool = pool
        self._seconds = seconds
        self._channels: dict[bytes, Channel] = {}
        self._resumed: list[Callable[[], None]] = []
        self._connection: AbstractConnection | None = None
        self._unsent: list[Channel] = []
        self._unconfirmed: deque[Channel] = deque()
        self._heard = True
        self._catching_up = True
        self._limit: asyncio.Timeout | None = None
        self._away = False
        self._closed = False
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Call back after each connection, once all channels are subscribed: messages before that are lost."""
        self._resumed.append(callback)

    def acquire(self, name: str, receive: Callable[[bytes], None]) -> Channel:
        """A channel to wait for with `confirmed`, and to `release`. Its users share what ``receive`` the first one gave."""
        channel = self._channels.get(name.encode())
        if channel is None:
            channel = self._channels[name.encode()] = Channel(name, receive)
            self._unsent.append(channel)
            self._start()
        channel.users += 1
        return channel

    def release(self, channel: Channel) -> None:
        """One user less; a channel without users is unsubscribed later, since the next user often comes soon."""
        channel.users -= 1

    def require(self) -> None:
        """Raise `StoreAway` when the server is known to be away."""
        if self._away or self._closed:
            raise StoreAway("the store does not take subscriptions")

    async def confirmed(self, channel: Channel) -> None:
        """Return once messages of the channel arrive. Raises `StoreAway`, at once when the server is known to be away."""
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
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def _start(self) -> None:
        """The first subscription opens the connection; a process that follows nothing has none."""
        if self._closed:
            return
        if not self._tasks:
            self._spawn("reader", self._keep_connected())
            self._spawn("watch", self._watch())
        if self._connection is not None and "sender" not in self._tasks:
            self._spawn("sender", self._send_new())

    def _spawn(self, name: str, work: Any) -> None:
        self._tasks[name] = asyncio.get_running_loop().create_task(work)

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    connection = await self._connect()
                failures = 0
                async with asyncio.timeout(None) as self._limit:
                    await self._read(connection)
            except AWAY as error:
                self._away = self._connection is None  # lost a moment ago it may be back at once
                log.warning("store.feed_lost", error=type(error).__name__, channels=len(self._channels))
            finally:
                await self._forget_connection()
            await asyncio.sleep(backoff(failures))
            failures += 1

    async def _connect(self) -> AbstractConnection:
        connection = new_connection(self._pool)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection, self._heard, self._away = connection, True, False
        self._unsent = []
        self._unconfirmed = deque(self._channels.values())
        if self._unconfirmed:
            await self._say("SUBSCRIBE", *(channel.name for channel in self._unconfirmed))
        return connection

    async def _forget_connection(self) -> None:
        """Nothing is live any more; what is confirmed later is confirmed by the next connection."""
        connection, self._connection = self._connection, None
        self._unconfirmed.clear()
        self._catching_up = True
        for channel in self._channels.values():
            if channel.live.done():
                channel.live = asyncio.get_running_loop().create_future()
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            message = await connection.read_response(timeout=math.inf)
            self._heard = True
            if type(message) is list:
                self._take(*message)

    def _take(self, kind: bytes, name: bytes, data: Any = None) -> None:
        if kind == b"message":
            channel = self._channels.get(name)
            if channel is not None:
                try:
                    channel.receive(data)
                except (ValueError, IndexError) as error:
                    log.error("store.message_unreadable", error=type(error).__name__)
        elif kind == b"subscribe" and self._unconfirmed:
            self._confirm(self._unconfirmed.popleft())

    def _confirm(self, channel: Channel) -> None:
        """Confirmations come in the order of the subscriptions."""
        if not channel.live.done():
            channel.live.set_result(None)
        if self._catching_up and not self._unconfirmed:
            self._catching_up = False
            for callback in self._resumed:
                callback()

    async def _send_new(self) -> None:
        """Subscribe to what was asked for in this turn of the event loop."""
        try:
            while self._unsent and self._connection is not None:
                channels, self._unsent = self._unsent, []
                self._unconfirmed.extend(channels)
                await self._say("SUBSCRIBE", *(channel.name for channel in channels))
        finally:
            del self._tasks["sender"]

    async def _watch(self) -> None:
        """Notice a server that says nothing at all, and forget the channels that nobody needs."""
        while True:
            await asyncio.sleep(self._seconds)
            if self._connection is None:
                continue
            if not self._heard and self._limit is not None:
                log.warning("store.feed_silent")
                self._limit.reschedule(asyncio.get_running_loop().time())
                continue
            self._heard = False
            await self._say("PING")
            await self._drop_idle()

    async def _drop_idle(self) -> None:
        idle = [channel for channel in self._channels.values() if not channel.users and channel.live.done()]
        for channel in idle:
            del self._channels[channel.name.encode()]
        if idle:
            await self._say("UNSUBSCRIBE", *(channel.name for channel in idle))

    async def _say(self, *words: str) -> None:
        """Send, if there is somebody to send to: after a loss the reader says everything again."""
        if self._connection is not None:
            try:
                await self._connection.send_command(*words, check_health=False)
            except AWAY as error:
                log.warning("store.feed_unsent", error=type(error).__name__)
