"""The channels that this process needs, and how far the server has confirmed them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from shared.log import get_logger

log = get_logger(__name__)


class Channel:
    """A channel that somebody needs, and what to do with its messages."""

    __slots__ = ("live", "name", "receive", "users")

    def __init__(self, name: str, receive: Callable[[bytes], None]) -> None:
        self.name = name
        self.receive = receive
        #: How many need it.
        self.users = 0
        #: Done once the server has confirmed the subscription that is in force.
        self.live: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Subscriptions:
    """The table of channels. It knows no connection: it says what to subscribe, and is told what came."""

    def __init__(self) -> None:
        self._channels: dict[bytes, Channel] = {}
        #: Channels that the server has not been asked for.
        self._new: list[Channel] = []
        #: Channels that it was asked for, in that order, which is the order of its confirmations.
        self._unconfirmed: deque[Channel] = deque()
        #: Whether a connection is young: not every channel that was there before it is confirmed.
        self._resuming = True
        self._resumed: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._channels)

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Call back after each connection, once all channels are confirmed."""
        self._resumed.append(callback)

    def acquire(self, name: str, receive: Callable[[bytes], None]) -> Channel:
        """The channel of this name with one user more. An existing one keeps the ``receive`` that it has."""
        channel = self._channels.get(name.encode())
        if channel is None:
            channel = self._channels[name.encode()] = Channel(name, receive)
            self._new.append(channel)
        channel.users += 1
        return channel

    @property
    def has_new(self) -> bool:
        """Whether there are channels to subscribe to."""
        return bool(self._new)

    def subscribe_new(self) -> list[str]:
        """The channels that the server is to be asked for; from now on they wait for its confirmation."""
        channels, self._new = self._new, []
        self._unconfirmed.extend(channels)
        return [channel.name for channel in channels]

    def subscribe_all(self) -> list[str]:
        """The same for a new connection: every channel."""
        self._new = list(self._channels.values())
        self._unconfirmed.clear()
        return self.subscribe_new()

    def lose_all(self) -> None:
        """The connection is lost: nothing is live any more until the next one confirms it."""
        self._unconfirmed.clear()
        self._resuming = True
        for channel in self._channels.values():
            if channel.live.done():
                channel.live = asyncio.get_running_loop().create_future()

    def remove_idle(self) -> list[str]:
        """Forget the channels that nobody needs; their names."""
        idle = [channel for channel in self._channels.values() if not channel.users and channel.live.done()]
        for channel in idle:
            del self._channels[channel.name.encode()]
        return [channel.name for channel in idle]

    def receive(self, kind: bytes, name: bytes, data: Any = None) -> None:
        """What the server pushed: a message, or the confirmation of a subscription."""
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
        if not channel.live.done():
            channel.live.set_result(None)
        if self._resuming and not self._unconfirmed:
            self._resuming = False
            for callback in self._resumed:
                callback()
