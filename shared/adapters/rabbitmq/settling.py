"""Deliveries of RabbitMQ and how they are settled."""

from __future__ import annotations

import asyncio

from aiormq import Channel
from aiormq.abc import ChannelFrame, DeliveredMessage
from pamqp import commands

from shared.adapters.rabbitmq.link import usable
from shared.log import get_logger

log = get_logger(__name__)


class Settlements:
    """The unsettled deliveries of one channel. What is settled in one turn of the event loop goes out as one write."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._in_hand: dict[int, bool] = {}  # delivery tag, in the order of arrival -> acknowledged
        self._acknowledged: list[int] = []
        self._rejected: list[tuple[int, bool]] = []
        self._scheduled = False

    def take(self, tag: int) -> None:
        self._in_hand[tag] = False

    def ack(self, tag: int) -> None:
        if self._in_hand.get(tag) is False:
            self._in_hand[tag] = True
            self._acknowledged.append(tag)
            self._schedule()

    def reject(self, tag: int, requeue: bool) -> None:
        if self._in_hand.get(tag) is False:
            del self._in_hand[tag]
            self._rejected.append((tag, requeue))
            self._schedule()

    def flush(self) -> None:
        """Write what was settled; nothing when the channel is lost, since the broker has given its messages away already."""
        self._scheduled = False
        if not usable(self._channel):
            return
        if self._channel.write_queue.full():
            self._schedule()
            return
        frames = self._frames()
        if frames:
            self._channel.write_queue.put_nowait(ChannelFrame.marshall(self._channel.number, frames))

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def _frames(self) -> list[commands.Basic.Reject | commands.Basic.Ack]:
        # Rejections first: an acknowledgement of everything up to a tag would take the rejected ones with it.
        frames: list[commands.Basic.Reject | commands.Basic.Ack] = [commands.Basic.Reject(tag, requeue) for tag, requeue in self._rejected]
        prefix = []
        for tag, acknowledged in self._in_hand.items():
            if not acknowledged:
                break
            prefix.append(tag)
        if prefix:
            frames.append(commands.Basic.Ack(prefix[-1], multiple=len(prefix) > 1))
        for tag in prefix:
            del self._in_hand[tag]
        frames += [commands.Basic.Ack(tag) for tag in self._acknowledged if self._in_hand.pop(tag, False)]
        self._acknowledged.clear()
        self._rejected.clear()
        return frames


class RabbitDelivery:
    """A message in hand (`shared.ports.Delivery`). ``tell_reason``: it comes from the dead letters."""

    __slots__ = ("_message", "_settlements", "_tag", "_tell_reason", "body", "redelivered", "settled")

    def __init__(self, settlements: Settlements, tag: int, message: DeliveredMessage, tell_reason: bool) -> None:
        self._settlements = settlements
        self._tag = tag
        self._message = message
        self._tell_reason = tell_reason
        self.body = message.body
        self.redelivered = bool(message.redelivered)
        self.settled = False

    @property
    def reason(self) -> str | None:
        if not self._tell_reason:
            return None
        deaths = (self._message.header.properties.headers or {}).get("x-death")
        latest = deaths[0] if isinstance(deaths, list) and deaths else None
        return str(latest["reason"]) if isinstance(latest, dict) and "reason" in latest else None

    def ack(self) -> None:
        if self._settle():
            self._settlements.ack(self._tag)

    def reject(self, *, requeue: bool) -> None:
        if self._settle():
            self._settlements.reject(self._tag, requeue)

    def _settle(self) -> bool:
        if self.settled:
            log.error("delivery.settled_twice", tag=self._tag)
            return False
        self.settled = True
        return True
