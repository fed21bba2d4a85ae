"""What the house needs from the outside, at the height of the domain.

Each port has an in-process adapter and one over a server; one parametrised suite (`tests/contract`) runs against every
adapter. Adapters raise `shared.errors.BrokerAway` or `StoreAway` when what is behind them does not answer in time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from shared.errors import InputTooLarge
from shared.events import Event, Requeued
from shared.facts import DeadLetter, Observation, WorkerFacts
from shared.jobs import Turn
from shared.usage import Allowance, Count, DayOfUse, Known, Metered


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes for a queue. ``id`` is the job's, ``expires_in`` (seconds) is when the broker gives it to the dead letters.

    ``makes_queue``: the queue is made if there is none, for what must not wait until somebody consumed once.
    """

    queue: str
    body: bytes
    id: str
    expires_in: float | None = None
    makes_queue: bool = False


def refuse_too_large(message: Message, most: int) -> None:
    """Raise `InputTooLarge` for a message of more than ``most`` bytes."""
    if len(message.body) > most:
        raise InputTooLarge(f"the job makes a message of {len(message.body)} bytes; the most is {most}")


@dataclass(frozen=True, slots=True)
class Depth:
    """A queue as its broker sees it: messages waiting to be delivered, and consumers."""

    ready: int
    consumers: int


class Delivery(Protocol):
    """A message in hand. Exactly one of `ack` and `reject` is called, once; both return at once and never raise.

    ``redelivered``: somebody may have worked on it before. ``reason`` is None, except in the dead-letter queue where it
    says why the message died: ``expired``, ``rejected``, ``delivery_limit`` or ``maxlen``.
    """

    @property
    def body(self) -> bytes: ...
    @property
    def redelivered(self) -> bool: ...
    @property
    def reason(self) -> str | None: ...
    def ack(self) -> None: ...
    def reject(self, *, requeue: bool) -> None:
        """Give the message back (``requeue``), or to the dead letters."""


class Consumer(Protocol):
    """A running subscription to a queue."""

    async def verify(self) -> None:
        """Raise `BrokerAway` unless the broker itself confirms that it delivers to this consumer."""

    async def stop(self) -> None:
        """Take nothing more. Deliveries in hand stay settleable."""


class Broker(Protocol):
    """At-least-once queues, one a service, and `DEAD_LETTERS` for what could not be done."""

    async def publish(self, message: Message) -> None:
        """Return once the message is safe. Raises `QueueFull`, `NoWorker` (no such queue), `InputTooLarge` or `BrokerAway`."""

    async def consume(self, queue: str, prefetch: int, handle: Callable[[Delivery], None]) -> Consumer:
        """Declare the queue and call ``handle`` in the event loop for each message, at most ``prefetch`` unsettled.

        The consumer survives reconnection. Settling a delivery of a lost connection does nothing: the broker has
        already given the message to somebody else.
        """

    async def depth(self, queue: str) -> Depth:
        """Zero and zero for a queue that does not exist."""

    async def observe(self, queues: Sequence[str]) -> Observation:
        """Everything that the broker tells of these queues, for operators; those that do not exist are left out."""

    async def ping(self) -> None:
        """Raise `BrokerAway` unless the broker answers."""


DEAD_LETTERS = "dead_letters"


@dataclass(frozen=True, slots=True)
class Entry:
    """An event for the list of a job."""

    job_id: str
    event: Event


class ResultStore(Protocol):
    """The event list of each job, kept for a stated time after its last event."""

    async def append(self, entries: Sequence[Entry]) -> list[bool]:
        """Append each event unless its job has ended, and push it to whoever follows. False: it had ended."""

    async def events(self, job_id: str, start: int = 0) -> list[Event]:
        """The events so far from the index ``start`` on, in order; empty when there are none (any more).

        A negative index counts from the end: -1 is the last event alone.
        """

    async def finished(self, job_ids: Sequence[str]) -> list[bool]:
        """Whether each job has ended, in one round trip."""

    def follow(self, job_id: str) -> AbstractAsyncContextManager[AsyncIterator[tuple[int, Event]]]:
        """Events as they come, each with its index in the list, from the first one on, ending with the final one.

        Entered before the job is published nothing is missed. The events are pushed over a constant number of
        connections per process; a lost connection is bridged by reading the list again.
        """

    async def count_attempt(self, job_id: str, change: int = 1) -> int:
        """Add ``change`` to the number of times a redelivered job was taken up, and return the sum."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session as stored. ``finished``: every frame up to this number is finished. ``numbered``: the last number given.

    ``skipped``: frames given up (failed, lost, too late) since the last one that was applied.
    """

    state: bytes | None
    finished: int
    numbered: int
    skipped: int = 0


class SessionStore(Protocol):
    """Numbered frames and the versioned state of sessions."""

    async def number(self, session: str) -> int:
        """The next number of the session (from 1), which stays alive until the session time has passed since its last frame ended.

        A frame that has not ended when a job must have counts as one that has: nobody will end it.
        """

    async def load(self, session: str) -> Snapshot: ...

    async def save(self, turn: Turn, seen: Snapshot | None, state: bytes | None, entry: Entry | None) -> bool:
        """Finish a turn and append the job's final event, in one atomic step.

        With ``seen`` (what `load` gave): the turn is applied; refused (False) unless the session is as it was seen.
        ``state`` replaces the stored one; a closing turn forgets it and ends the session. Numbers between
        ``seen.finished`` and the turn's are given up. Without ``seen``: the turn is given up, in or out of order,
        and ``state`` is not looked at; True. An ``entry`` whose job had ended already changes nothing but the turn.
        """

    async def advanced(self, session: str, number: int) -> None:
        """Return once every frame up to ``number`` is finished; pushed, not polled. The caller bounds the wait."""

    async def expired(self, *, every: bool = False) -> list[Turn]:
        """Closing turns of the sessions that fell silent, with no frame under way, or of ``every`` one that is not closed, each claimed by one caller for a while.

        A claim that is not followed by the closing turn's `save` within the lease is given again, with the same number, and the
        session is kept meanwhile, for a stated time after it fell silent.
        """


@dataclass(frozen=True, slots=True)
class StreamView:
    """A stream of frames as stored.

    ``about``: what it was begun with. ``count``: its frames so far. ``frames``: those asked for that are still kept, with
    their numbers. ``ended``: the word that it was ended with, empty while it goes on. ``remaining``: seconds until it ends
    for want of a frame; not positive once it has.
    """

    about: bytes
    count: int
    frames: Sequence[tuple[int, bytes]]
    ended: str
    remaining: float

    @property
    def over(self) -> bool:
        """Whether it takes no more frames."""
        return bool(self.ended) or self.remaining <= 0


class StreamStore(Protocol):
    """Streams of frames: what each was begun with, and in order what its last frames became.

    A stream ends when it is ended, or when no frame came for the session time; what is kept of it outlives that by a while.
    """

    async def begin(self, stream: str, about: bytes) -> None: ...

    async def add(self, stream: str, sender: str, frame: bytes) -> int:
        """Keep the frame and push it to whoever follows; its number, from 1.

        Raises `StreamEnded`, and `StreamTaken` when a sender whose name sorts after this one's has added before.
        """

    async def read(self, stream: str, after: int) -> StreamView | None:
        """The stream with its frames after number ``after``; None when there is none (any more)."""

    def follow(self, stream: str, after: int) -> AbstractAsyncContextManager[AsyncIterator[tuple[int, bytes]]]:
        """Frames as they come, with their numbers, from the first one after ``after`` that is kept, until the stream is over.

        Numbers grow, and jump where frames are not kept any more. Iterating raises `StoreAway`.
        """

    async def end(self, stream: str, reason: str) -> bool:
        """Take no more frames. ``reason``: a word. False when the stream was over already."""


class BlobStore(Protocol):
    """Bytes of a tenant, kept for a stated time after their last use."""

    async def put(self, tenant: str, data: bytes) -> str:
        """Store the bytes and return their identifier. Raises `InputTooLarge` beyond the tenant's number of blobs."""

    async def get(self, tenant: str, blob_id: str) -> bytes | None: ...

    async def exists(self, tenant: str, blob_ids: Sequence[str]) -> list[bool]: ...

    async def delete(self, tenant: str, blob_id: str) -> bool: ...


class IdempotencyStore(Protocol):
    """Which request an Idempotency-Key stood for, kept for a stated time."""

    async def claim(self, tenant: str, key: str, fingerprint: str, job_id: str) -> tuple[str, str]:
        """Remember (fingerprint, job id) for the key unless it is taken; return what it now stands for."""

    async def release(self, tenant: str, key: str) -> None:
        """Forget a key whose job could not be accepted."""


class WorkerRegistry(Protocol):
    """The worker processes that run, each by what it last said of itself."""

    async def announce(self, worker: WorkerFacts) -> None:
        """Keep what a worker says, in place of what it said before, until it has been silent for a stated time."""

    async def withdraw(self, worker_id: str) -> None:
        """Forget a worker that ends."""

    async def workers(self) -> list[WorkerFacts]:
        """All workers that were heard of lately, the oldest process first."""


class SessionCensus(Protocol):
    """How many sessions there are."""

    async def alive(self) -> Mapping[tuple[str, int], int]:
        """Sessions that have not been closed, by (service, version)."""


class LetterArchive(Protocol):
    """Dead letters, kept for operators: so many, so long, and their messages for a shorter time and within so many bytes."""

    async def keep(self, letter: DeadLetter, message: bytes | None) -> None:
        """Keep a letter, in place of one with its id. ``message`` is what `reopen` gives back; None keeps what was there."""

    async def letters(self, start: int, count: int) -> tuple[int, list[tuple[DeadLetter, bool]]]:
        """(how many there are, those from ``start`` on, the latest first, each with whether its message is still kept)."""

    async def reopen(self, letter_id: str, event: Requeued) -> tuple[DeadLetter, bytes]:
        """Make the job of a letter unfinished again, in one step, and return the letter, which is still kept, and its message.

        The job's failure gives its place in the list of events to ``event``, and its attempts are forgotten. Raises `NotFound`, and
        `NotRequeueable` when the message is no longer kept, or the job was done after all or cancelled by its caller.
        """

    async def delete(self, letter_id: str) -> bool:
        """Forget a letter and its message; whether there was one. Its job's failure stays."""


class Meter(Protocol):
    """Seconds of stream by the store's clock, each counted once, however many processes count."""

    async def count(self, who: Metered, allowance: Allowance) -> Count:
        """Count the present second, unless it is counted already, or not ``granted`` because the allowance is used up.

        Whoever is granted may let jobs of the stream in until the second ends, without asking again.
        """

    async def begin(self, who: Metered, known: Known) -> None:
        """Go on from what the database knows; where the meter knows something itself, that stands."""

    async def unsaved(self, lease: float) -> list[DayOfUse]:
        """Some of the days that are to be saved in the database; to one caller in ``lease`` seconds (0: at once), empty for the others."""

    async def saved(self, days: Sequence[DayOfUse]) -> None:
        """Those are safe; one of which more was counted meanwhile stays unsaved."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What one store server (or this process's memory) keeps. ``ping`` raises `StoreAway` unless it answers."""

    results: ResultStore
    sessions: SessionStore
    streams: StreamStore
    blobs: BlobStore
    idempotency: IdempotencyStore
    workers: WorkerRegistry
    census: SessionCensus
    letters: LetterArchive
    meter: Meter
    ping: Callable[[], Awaitable[None]]
