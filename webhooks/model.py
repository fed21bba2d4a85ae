"""The nouns: a delivery on its way to a receiver, and how a try of it went."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b


class DeliveryState(StrEnum):
    """``waiting`` for the job's end, ``due``, or at its end: ``delivered``, ``given_up``, ``disabled`` (the receiver does not want any)."""

    WAITING = "waiting"
    DUE = "due"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"
    DISABLED = "disabled"


#: The states in which something remains to be done.
OPEN = (DeliveryState.WAITING, DeliveryState.DUE)


@dataclass(frozen=True, slots=True)
class Delivery:
    """The news of one job's end for one receiver. Times in milliseconds since 1970.

    ``url`` is the receiver's, ``job_url`` the job's as its document has it. ``attempts``: tries that failed. ``finished``: since when the
    delivery is tried. ``lease``: until when it is ours; whoever claims it later has another one.
    """

    job_id: str
    stream: str
    url: str
    job_url: str
    synchronous: bool
    created: int
    attempts: int = 0
    finished: int = 0
    lease: int = 0
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A delivery as its owner sees it. ``next_at``: when it is tried again; ``status`` and ``error`` of the last try. Milliseconds."""

    url: str
    job_url: str
    state: DeliveryState
    attempts: int
    next_at: int
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Disabled:
    """A receiver that answered 410. ``since`` in milliseconds since 1970."""

    url: str
    since: int


@dataclass(frozen=True, slots=True)
class Result:
    """How a try went: the ``status`` that came, or the ``error`` that kept one from coming. ``retry_after`` in seconds."""

    status: int | None = None
    error: str | None = None
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def unwanted(self) -> bool:
        return self.status == 410


def endpoint_of(stream: str, url: str) -> bytes:
    """What a stream's receiver is known by: 16 bytes."""
    return blake2b(f"{stream}\n{url}".encode(), digest_size=16, person=b"webhook-endpoint").digest()


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, as the database has its times."""
    return int(seconds * 1000)
