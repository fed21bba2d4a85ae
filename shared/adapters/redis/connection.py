"""Commands of many callers over one connection to Redis.

What several coroutines ask for in one turn of the event loop, or while an earlier exchange is under way, travels
together. Only the exchange touches the connection: callers wait for futures, so a caller that is cancelled leaves no
reply behind for somebody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MasterDownError, NoScriptError, ReadOnlyError, RedisError, ResponseError

from shared.errors import StoreAway
from shared.log import get_logger

log = get_logger(__name__)

#: What a server, a network or the library raises when the store is away.
AWAY = (RedisError, OSError, TimeoutError)
#: Replies after which another connection may lead to a server that can do better.
_ELSEWHERE = (ReadOnlyError, MasterDownError)


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that Redis runs as one step; ``digest`` is the name it gives to the text."""

    text: str
    digest: bytes

    @classmethod
    def of(cls, *parts: str) -> Script:
        """The parts, one after the other, under the mark that makes Redis refuse a script it cannot carry out in full.

        Without the mark a server that is out of memory or a read-only replica would stop in the middle of it.
        """
        text = "#!lua\n" + "\n".join(parts)
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest().encode())


@dataclass(slots=True)
class _Command:
    """A packed command, who waits for its reply, and the script it names."""

    data: bytes
    future: asyncio.Future[Any]
    script: Script | None = None


def make_pool(url: str, seconds: float) -> ConnectionPool:
    """A maker of connections that do not retry by themselves: a command that may have been done is not done again."""
    return ConnectionPool.from_url(
        url,
        protocol=2,
        socket_timeout=None,  # the exchange as a whole is bounded, not each read
        socket_connect_timeout=seconds,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )


def new_connection(pool: ConnectionPool) -> AbstractConnection:
    """A connection, not yet open, that belongs to the caller alone."""
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
    return connection


class CommandConnection:
    """A connection that is opened when it is needed, and carries one batch of commands at a time."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connection: AbstractConnection | None = None
        #: Whether a reply said that another server is meant.
        self._misplaced = False

    async def execute(self, batch: Sequence[_Command]) -> None:
        """Send the commands together and settle each with its reply. Raises what `AWAY` lists."""
        connection = await self._connected()
        unknown = await self._converse(connection, batch)
        if not unknown:
            return
        # The server does not have the script (any more), so it has done nothing.
        texts = {command.script.text for command in unknown if command.script}
        loads = [hiredis.pack_command(("SCRIPT", "LOAD", text)) for text in texts]  # type: ignore[arg-type]
        await connection.send_packed_command(loads, check_health=False)
        for _ in loads:
            await connection.read_response()
        for command in await self._converse(connection, unknown):
            _settle(command, StoreAway("the store forgets its scripts"))

    async def close(self) -> None:
        """Give the connection up; the next batch opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _converse(self, connection: AbstractConnection, batch: Sequence[_Command]) -> list[_Command]:
        """Send and settle; returns the commands whose script the server does not know."""
        unknown = []
        await connection.send_packed_command([command.data for command in batch], check_health=False)
        for command in batch:
            try:
                _settle(command, await connection.read_response())
            except NoScriptError:
                unknown.append(command)
            except ResponseError as error:
                _settle(command, _refusal(error))
                self._misplaced = self._misplaced or isinstance(error, _ELSEWHERE)
        return unknown

    async def _connected(self) -> AbstractConnection:
        """The connection, unless the server closed it while nothing was said, or has become the wrong one."""
        connection = self._connection
        if connection is not None:
            if connection.is_connected and not self._misplaced and not await connection.can_read():
                return connection
            await self.close()
        self._misplaced = False
        connection = self._connection = new_connection(self._pool)
        await connection.connect()  # type: ignore[no-untyped-call]
        return connection


class Commands:
    """Commands of many callers, in batches over one connection, which is opened again after it was lost."""

    def __init__(self, pool: ConnectionPool, seconds: float, *, most: int = 512) -> None:
        """``seconds`` bounds an exchange, connecting included; ``most`` is the number of commands of one exchange."""
        self._connection = CommandConnection(pool)
        self._seconds = seconds
        self._most = most
        self._waiting: list[_Command] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def load(self) -> int:
        """Commands that wait, the exchange under way counted as one."""
        return len(self._waiting) + (self._task is not None)

    def send(self, *arguments: bytes | str | int) -> asyncio.Future[Any]:
        """The reply to a command, as bytes, whole numbers, lists of them or None. The future raises `StoreAway`."""
        return self._enqueue(arguments, None)

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> asyncio.Future[Any]:
        """The reply of a script. The future raises `StoreAway`."""
        return self._enqueue((b"EVALSHA", script.digest, len(keys), *keys, *arguments), script)

    async def close(self) -> None:
        """Give the connection up; what waits gets `StoreAway`."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._connection.close()

    def _enqueue(self, arguments: tuple[bytes | str | int, ...], script: Script | None) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        command = _Command(hiredis.pack_command(arguments), loop.create_future(), script)  # type: ignore[arg-type]
        if self._closed:
            command.future.set_exception(StoreAway("the store was closed"))
            return command.future
        self._waiting.append(command)
        if self._task is None:
            self._task = loop.create_task(self._exchange_all())
        return command.future

    async def _exchange_all(self) -> None:
        batch: list[_Command] = []
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                batch = [command for command in taken if not command.future.done()]
                if batch:
                    await self._attempt(batch)
        except BaseException:  # closed, or a fault of this code: no reply may be left on the connection
            self._fail(batch, "the store was closed")
            await self._connection.close()
            raise
        finally:
            self._task = None

    async def _attempt(self, batch: Sequence[_Command]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._connection.execute(batch)
        except AWAY as error:
            log.warning("store.exchange_failed", error=type(error).__name__, commands=len(batch), waiting=len(self._waiting))
            self._fail(batch, f"the store does not answer ({type(error).__name__})")
            await self._connection.close()

    def _fail(self, batch: Sequence[_Command], reason: str) -> None:
        """End what was sent and what waits behind it: it has waited for the same silence."""
        for command in (*batch, *self._waiting):
            if not command.future.done():
                command.future.set_exception(StoreAway(reason))
        self._waiting = []


class Lanes:
    """A few connections for large values, so that they hold up neither the small commands nor, much, each other."""

    def __init__(self, pool: ConnectionPool, seconds: float, count: int = 4) -> None:
        self._lanes = [Commands(pool, seconds, most=1) for _ in range(count)]

    def send(self, *arguments: bytes | str | int) -> asyncio.Future[Any]:
        """As `Commands.send`, on the connection with the least to do."""
        return self._idlest().send(*arguments)

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> asyncio.Future[Any]:
        """As `Commands.run`, on the connection with the least to do."""
        return self._idlest().run(script, keys, arguments)

    async def close(self) -> None:
        for lane in self._lanes:
            await lane.close()

    def _idlest(self) -> Commands:
        return min(self._lanes, key=lambda lane: lane.load)


def _settle(command: _Command, reply: Any) -> None:
    if command.future.done():  # the caller has gone
        return
    if isinstance(reply, Exception):
        command.future.set_exception(reply)
    else:
        command.future.set_result(reply)


def _refusal(error: ResponseError) -> StoreAway:
    """Out of memory, read-only, a disk that fails: the store is there and cannot do it."""
    log.error("store.refused", error=type(error).__name__, reply=str(error)[:80])
    return StoreAway(f"the store refused a command ({type(error).__name__})")
