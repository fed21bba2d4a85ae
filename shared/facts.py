"""What operators see of a running system: queues, workers, dead letters. Never an input of a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """A queue as its broker sees it.

    ``ready``: messages that wait; ``consumers``: who would take them; ``unacknowledged``: in a consumer's hand. Rates are messages a
    second over the last seconds, ``oldest_seconds`` is the age of the oldest message, waiting or in hand. None: the broker does not tell.
    """

    ready: int = 0
    consumers: int = 0
    unacknowledged: int | None = None
    published_rate: float | None = None
    delivered_rate: float | None = None
    oldest_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """Queues by name as asked for. ``gap``: why some of what a broker may tell is missing; None when nothing is."""

    queues: Mapping[str, QueueFacts]
    gap: str | None = None


class UnreadableFacts(ValueError):
    """The bytes are not facts of a version that this process reads."""


@dataclass(frozen=True, slots=True)
class ServedFacts:
    """One service in one worker process.

    ``rate``: items computed a second, over the last seconds.
    ``models``: names of the networks it opened; ``stand_ins``: for each network that it does not use, by name, the one that
    stands in for it, or "" where it does without. ``batch``: most items it computes at a time; ``busy``: share (0..1) of the process's
    model threads that computed this service since the announcement before. Since the process began: ``done`` items computed and ``taken``
    deliveries. ``in_hand``: deliveries not settled yet; ``oldest``: when the oldest of their jobs was accepted, seconds since 1970.
    """

    service: str
    version: int
    queue: str
    models: tuple[str, ...] = ()
    batch: int = 1
    busy: float = 0.0
    done: int = 0
    taken: int = 0
    in_hand: int = 0
    oldest: float | None = None
    rate: float = 0.0
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    #: What the service itself says of what it can do here, for its document.
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a worker process says of itself.

    ``id``: made of chance at each start, so that a process that comes back under the same host name and number is another one. ``started``
    and ``at`` (when it said so) are seconds since 1970, ``threads`` the model threads that all its services share.
    """

    id: str
    host: str
    pid: int
    release: str
    device: str
    threads: int
    started: float
    at: float
    services: tuple[ServedFacts, ...] = ()

    def encode(self) -> bytes:
        return orjson.dumps(asdict(self))


def decode_worker(data: bytes) -> WorkerFacts:
    """The facts that `WorkerFacts.encode` wrote. Raises `UnreadableFacts` for anything else; unknown keys are ignored."""
    try:
        given = orjson.loads(data)
        services = tuple(
            ServedFacts(**{**_known(ServedFacts, served), "models": tuple(served.get("models", ()))})
            for served in given.get("services", ())
        )
        return WorkerFacts(**{**_known(WorkerFacts, given), "services": services})
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableFacts(f"no worker says this: {type(error).__name__}") from error


#: What a message was that died: a job, a visit on its way to the recorder, or bytes that nobody can read.
LetterKind = Literal["job", "visit", "unreadable"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is kept of a message that died, for operators.

    ``id`` is the job's (or the visit's). ``reason`` says how it died: ``rejected`` (given up by the workers), ``expired``,
    ``delivery_limit``, ``maxlen``, ``unknown``. ``attempts``: how often it was taken up, as counted by the workers; 0 for one that never
    came back from a worker. ``died`` is seconds since 1970, ``size`` the bytes of the message with its files. ``obstacle``: why it cannot
    be put back into its queue; None when it can, as long as its message is kept.
    """

    id: str
    kind: LetterKind
    reason: str
    died: float
    queue: str = ""
    service: str = ""
    version: int = 0
    tenant: str = ""
    attempts: int = 0
    size: int = 0
    obstacle: str | None = None

    def encode(self) -> bytes:
        return orjson.dumps(asdict(self))


def decode_letter(data: bytes) -> DeadLetter:
    """The letter that `DeadLetter.encode` wrote. Raises `UnreadableFacts` for anything else; unknown keys are ignored."""
    try:
        return DeadLetter(**_known(DeadLetter, orjson.loads(data)))
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableFacts(f"no dead letter: {type(error).__name__}") from error


def _known(kind: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What a newer version may say beside what is known here is left out."""
    return {name: value for name, value in given.items() if name in kind.__slots__}
