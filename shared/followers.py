"""Who in this process waits for the events of which job, whatever the store behind.

A store keeps each event as a mark (is it the final one?) and its encoding, and pushes it here with its index in the
job's list. Whoever follows gets each event once: pushes and readings of the list may overlap, and a hole in the
indexes makes the list be read again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

from shared.aio import backoff
from shared.errors import StoreAway
from shared.events import Chunk, Event, decode_event
from shared.log import get_logger

log = get_logger(__name__)

_FINAL, _MORE = b"1", b"0"
_FINAL_MARK = _FINAL[0]
_PIECE = _MORE + b'{"type":"chunk"'
#: What a list has in the place of a piece: the piece itself is kept beside the list, and for a shorter time.
PIECE_GONE = _MORE + Chunk(0).encode()
#: Lists read in one go.
_LISTS_AT_A_TIME = 256

#: Reads the lists of jobs, each from an index on. Raises `StoreAway`.
ReadLists = Callable[[Sequence[tuple[str, int]]], Awaitable[Sequence[Sequence[bytes]]]]


def stored_form(event: Event) -> bytes:
    """An event as stores keep it."""
    return (_FINAL if event.final else _MORE) + event.encode()


def is_piece(data: bytes) -> bool:
    """Whether the stored form is that of a piece of an answer."""
    return data.startswith(_PIECE)


def stored_event(data: bytes) -> Event:
    """The event that `stored_form` made. Raises `ValueError` for anything else."""
    return decode_event(data[1:])


class Follower:
    """The events of one job as they come, for one caller: a context manager that is its own iterator."""

    __slots__ = ("_closed", "_complete", "_followers", "_next", "_prepare", "_ready", "_release", "_waiter", "job_id")

    def __init__(
        self,
        followers: Followers,
        job_id: str,
        prepare: Callable[[Follower], Awaitable[None]] | None = None,
        release: Callable[[Follower], None] | None = None,
    ) -> None:
        """``prepare`` is awaited before the first event is waited for, until it succeeds; ``release`` ends what it began."""
        self.job_id = job_id
        self._followers, self._prepare, self._release = followers, prepare, release
        self._ready: deque[tuple[int, bytes]] = deque()
        self._next = 0
        self._complete = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def wanted(self) -> int:
        """The index of the event that comes next."""
        return self._next

    async def __aenter__(self) -> Self:
        self._followers.add(self)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._followers.discard(self)
        if self._release is not None:
            self._release(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, Event]:
        """The next event with its index. Raises `StoreAway` when the store cannot be read, or was closed."""
        if self._prepare is not None and not self._complete:
            await self._prepare(self)
            self._prepare = None
        while not self._ready:
            if self._complete:
                raise StopAsyncIteration
            if self._closed:
                raise StoreAway("the store was closed")
            await self._wait()
        index, data = self._ready.popleft()
        return index, stored_event(data)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def push(self, index: int, data: bytes) -> bool:
        """Take an event unless it is known. False when events before it are missing."""
        final = data[0] == _FINAL_MARK
        if self._complete or (index < self._next and not final):
            return True  # (a list that was lost and begun anew has its end at a smaller index: that end is taken)
        if index > self._next:
            return False
        self._complete = final
        self._next = index + 1
        self._ready.append((index, data))
        self._wake()
        return True

    def close(self) -> None:
        """End the waiting, since nothing comes any more."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Followers:
    """All followers of a process, by job."""

    def __init__(self, read: ReadLists) -> None:
        self._read = read
        self._by_job: dict[str, list[Follower]] = {}
        self._missed: set[str] = set()
        self._reading: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """The number of jobs that are followed."""
        return len(self._by_job)

    def add(self, follower: Follower) -> None:
        if self._closed:
            follower.close()
        self._by_job.setdefault(follower.job_id, []).append(follower)

    def discard(self, follower: Follower) -> None:
        followers = self._by_job[follower.job_id]
        followers.remove(follower)
        if not followers:
            del self._by_job[follower.job_id]

    def push(self, job_id: str, index: int, data: bytes) -> None:
        """Hand an event in its stored form to whoever follows the job."""
        for follower in self._by_job.get(job_id, ()):
            if not follower.push(index, data):
                self._miss(job_id)

    def push_list(self, job_id: str, start: int, events: Sequence[bytes]) -> None:
        """Hand over what was read from the job's list from ``start`` on."""
        for index, data in enumerate(events, start):
            self.push(job_id, index, data)

    def reread(self) -> None:
        """Pushes may have been lost: read the list of every job that is followed."""
        for job_id in self._by_job:
            self._miss(job_id)

    async def close(self) -> None:
        """End every follower."""
        self._closed = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        for followers in self._by_job.values():
            for follower in followers:
                follower.close()

    def _miss(self, job_id: str) -> None:
        self._missed.add(job_id)
        if self._reading is None and not self._closed:
            self._reading = asyncio.get_running_loop().create_task(self._read_missed())

    async def _read_missed(self) -> None:
        failures = 0
        try:
            while self._missed:
                jobs = [self._missed.pop() for _ in range(min(_LISTS_AT_A_TIME, len(self._missed)))]
                try:
                    await self._read_lists(jobs)
                    failures = 0
                except StoreAway:
                    self._missed.update(jobs)
                    log.warning("followers.list_unread", jobs=len(self._missed))
                    await asyncio.sleep(backoff(failures))
                    failures += 1
        finally:
            self._reading = None

    async def _read_lists(self, jobs: Sequence[str]) -> None:
        """Read what the slowest follower of each job lacks."""
        places = [(job, min(each.wanted for each in self._by_job[job])) for job in jobs if job in self._by_job]
        if places:
            for (job, start), events in zip(places, await self._read(places), strict=True):
                self.push_list(job, start, events)
