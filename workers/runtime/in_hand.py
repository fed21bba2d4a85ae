"""The deliveries that a worker has in hand: taken from the broker and not settled."""

from __future__ import annotations

from shared.ports import Delivery


class Held:
    """A delivery in hand (`shared.ports.Delivery`) that says when it is settled."""

    __slots__ = ("_delivery", "_hand", "accepted", "body", "redelivered")

    def __init__(self, hand: InHand, delivery: Delivery) -> None:
        self._hand = hand
        self._delivery = delivery
        #: When its job was accepted, in seconds since 1970.
        self.accepted: float | None = None
        self.body = delivery.body
        self.redelivered = delivery.redelivered

    @property
    def reason(self) -> str | None:
        return self._delivery.reason

    def ack(self) -> None:
        self._hand.let_go(self)
        self._delivery.ack()

    def reject(self, *, requeue: bool) -> None:
        self._hand.let_go(self)
        self._delivery.reject(requeue=requeue)


class InHand:
    """The deliveries of one service in hand."""

    def __init__(self) -> None:
        #: How many were ever taken.
        self.taken = 0
        self._held: dict[int, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, delivery: Delivery) -> Held:
        """The delivery, in hand from now on."""
        self.taken += 1
        held = Held(self, delivery)
        self._held[id(held)] = held
        return held

    def let_go(self, held: Held) -> None:
        self._held.pop(id(held), None)

    @property
    def oldest(self) -> float | None:
        """When the job that was accepted first was, in seconds since 1970."""
        accepted = (held.accepted for held in self._held.values() if held.accepted is not None)
        return min(accepted, default=None)
