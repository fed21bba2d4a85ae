"""A WebSocket with the stream's credentials, over websockets (an extra)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Union

from angus._core.documents import document_of, same_or_safer
from angus._core.transport import CONNECT_SECONDS, basic, context
from angus.errors import AngusError, ApiError, ConfigurationError, Unreachable

if TYPE_CHECKING:
    from angus.aio.connection import Connection

#: Bytes of the largest answer that is accepted.
MOST_BYTES = 16 * 1024 * 1024
#: Close codes above this carry an HTTP status; those of them, and others, after which connecting again makes sense.
STATUS_CODES = 4000
_NO_FRAME, _STORE_AWAY, _GOING_AWAY = 4408, 4503, 1001
_HANDSHAKE_LATER = (429, 502, 503, 504)


class Closed(Exception):
    """The connection has ended. ``error``: what to raise if it is not made anew."""

    def __init__(self, error: AngusError, *, may_come_back: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.may_come_back = may_come_back


class Socket:
    """Text and binary messages, out and in. Both raise `Closed`."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def send(self, message: Union[str, bytes]) -> None:
        """Returns when the network has taken enough of it."""
        from websockets.exceptions import ConnectionClosed

        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            raise _closed(error) from None

    async def receive(self) -> str:
        """The next message."""
        from websockets.exceptions import ConnectionClosed

        try:
            message = await self._socket.recv()
        except ConnectionClosed as error:
            raise _closed(error) from None
        return message if isinstance(message, str) else bytes(message).decode()


@asynccontextmanager
async def connect(connection: Connection, url: str) -> AsyncIterator[Socket]:
    """A socket that is open while the block lasts. Raises `Closed` when there is no connection, `ConfigurationError` without websockets."""
    try:
        from websockets.asyncio.client import connect as open_socket
        from websockets.exceptions import InvalidStatus, WebSocketException
    except ImportError:
        raise ConfigurationError("frames over a WebSocket need websockets: pip install 'sensorium-sdk[streams]'") from None
    same_or_safer(connection.root, url)
    more: dict[str, Any] = {"ssl": context(connection.verify)} if url.startswith("wss:") else {}
    headers = basic(connection.credentials)
    opening = open_socket(url, additional_headers=headers, compression=None, max_size=MOST_BYTES, open_timeout=CONNECT_SECONDS, **more)
    try:
        socket = await opening
    except InvalidStatus as error:
        raise _refused(error.response, url) from None
    except (OSError, WebSocketException, asyncio.TimeoutError) as error:
        raise Closed(Unreachable(f"no WebSocket at {url} ({error or type(error).__name__})"), may_come_back=True) from None
    try:
        yield Socket(socket)
    finally:
        await socket.close()


def _refused(response: Any, url: str) -> Closed:
    """What the server answered instead of opening the socket."""
    status = response.status_code
    try:
        document_of(status, response.headers, response.body or b"", url)
    except AngusError as error:
        return Closed(error, may_come_back=status in _HANDSHAKE_LATER)
    return Closed(Unreachable(f"no WebSocket at {url} (the answer was {status})"), may_come_back=False)


def _closed(error: Any) -> Closed:
    """What a close frame means; one that never came means that the connection broke."""
    frame = error.rcvd
    if frame is None:
        return Closed(Unreachable("the connection of the stream broke"), may_come_back=True)
    if frame.code > STATUS_CODES:
        status = frame.code - STATUS_CODES
        problem = ApiError(status, {"error": frame.reason or "the stream was closed"})
        return Closed(problem, may_come_back=frame.code in (_NO_FRAME, _STORE_AWAY))
    ended = Unreachable(f"the stream was closed: {frame.reason or frame.code}")
    return Closed(ended, may_come_back=frame.code == _GOING_AWAY)
