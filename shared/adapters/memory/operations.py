"""What operators see, in this process's memory: workers, sessions, dead letters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from shared.aio import Clock, TtlCache
from shared.errors import NotFound
from shared.events import Event, Requeued
from shared.facts import DeadLetter, WorkerFacts, decode_letter, decode_worker
from shared.jobs import parse_session_key
from shared.reopening import NO_LETTER, obstacle_of, refuse_obstacle
from shared.settings import Settings


class MemoryWorkers:
    """`shared.ports.WorkerRegistry` in memory."""

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        """``seconds``: who was silent for so long is forgotten."""
        self._said: TtlCache[str, bytes] = TtlCache(seconds, clock=clock)

    async def announce(self, worker: WorkerFacts) -> None:
        self._said.put(worker.id, worker.encode())

    async def withdraw(self, worker_id: str) -> None:
        self._said.pop(worker_id)

    async def workers(self) -> list[WorkerFacts]:
        said = (decode_worker(data) for data in self._said.values())
        return sorted(said, key=lambda worker: (worker.started, worker.id))


class MemoryCensus:
    """`shared.ports.SessionCensus` in memory. ``alive`` names the sessions that were not closed."""

    def __init__(self, alive: Callable[[], Iterable[str]]) -> None:
        self._alive = alive

    async def alive(self) -> Mapping[tuple[str, int], int]:
        return Counter(parse_session_key(session)[1:3] for session in self._alive())


class Jobs(Protocol):
    """What the archive needs of the lists of events."""

    def last(self, job_id: str) -> Event | None:
        """The last event of a job; None when its list is gone."""

    def replace_last(self, job_id: str, event: Event) -> None:
        """Put ``event`` in the place of the last one, and forget the attempts."""


@dataclass(slots=True)
class _Kept:
    """A letter as stored. ``ends`` and ``message_ends``: on the monotonic clock."""

    data: bytes
    ends: float
    message: bytes | None = None
    message_ends: float = 0.0


class MemoryLetters:
    """`shared.ports.LetterArchive` in memory."""

    def __init__(self, settings: Settings, jobs: Jobs, clock: Clock = time.monotonic) -> None:
        self._settings, self._jobs, self._clock = settings, jobs, clock
        self._kept: dict[str, _Kept] = {}  # in the order in which they were kept

    async def keep(self, letter: DeadLetter, message: bytes | None) -> None:
        now = self._clock()
        former = self._kept.pop(letter.id, None)
        kept = self._kept[letter.id] = _Kept(letter.encode(), now + self._settings.dead_letter_seconds)
        if message is not None and self._settings.dead_letter_input_seconds and len(message) <= self._settings.dead_letter_bytes:
            kept.message, kept.message_ends = bytes(message), now + self._settings.dead_letter_input_seconds
        elif former is not None:
            kept.message, kept.message_ends = former.message, former.message_ends
        self._purge()

    async def letters(self, start: int, count: int) -> tuple[int, list[tuple[DeadLetter, bool]]]:
        self._purge()
        latest = list(reversed(self._kept.values()))
        return len(latest), [(decode_letter(kept.data), kept.message is not None) for kept in latest[start : start + count]]

    async def reopen(self, letter_id: str, event: Requeued) -> tuple[DeadLetter, bytes]:
        self._purge()
        kept = self._kept.get(letter_id)
        if kept is None:
            raise NotFound(NO_LETTER)
        letter = decode_letter(kept.data)
        refuse_obstacle(obstacle_of(letter, kept.message))
        if letter.kind == "job":
            refuse_obstacle(obstacle_of(letter, kept.message, self._jobs.last(letter.id)))
            self._jobs.replace_last(letter.id, event)
        assert kept.message is not None  # noqa: S101 - the obstacle otherwise
        return letter, kept.message

    async def delete(self, letter_id: str) -> bool:
        self._purge()
        return self._kept.pop(letter_id, None) is not None

    def _purge(self) -> None:
        """Drop what is too old, too many or too much, the oldest first."""
        now = self._clock()
        too_many = len(self._kept) - self._settings.dead_letters
        for index, (name, kept) in enumerate(list(self._kept.items())):
            if index < too_many or kept.ends <= now:
                del self._kept[name]
            elif kept.message_ends <= now:
                kept.message = None
        held = sum(len(kept.message or b"") for kept in self._kept.values())
        for kept in self._kept.values():
            if held <= self._settings.dead_letter_bytes:
                return
            held -= len(kept.message or b"")
            kept.message = None
