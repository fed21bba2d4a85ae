"""Results, sessions, blobs and idempotency keys in this process's memory, for ``memory://``.

The same rules as in Redis, on dictionaries whose entries expire; encoded bytes are kept, so nothing is shared by reference.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shared.errors import InputTooLarge
from shared.events import Event, decode_event
from shared.followers import Follower, Followers
from shared.jobs import Turn
from shared.ports import Entry, Snapshot, Stores
from shared.settings import Settings

V = TypeVar("V")
#: A claim on a session that fell silent lapses after this long, in seconds.
LEASE_SECONDS = 30.0
_SWEEP_SECONDS = 5.0


class Expiring(Generic[V]):
    """A dictionary whose entries end ``seconds`` after they were last kept."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: dict[str, tuple[float, V]] = {}

    def get(self, key: str) -> V | None:
        found = self._entries.get(key)
        if found is None or found[0] < time.monotonic():
            return None
        return found[1]

    def keep(self, key: str, value: V) -> None:
        self._entries[key] = (time.monotonic() + self._seconds, value)

    def drop(self, key: str) -> bool:
        alive = self.get(key) is not None
        self._entries.pop(key, None)
        return alive

    def __len__(self) -> int:
        return len(self._entries)

    def sweep(self) -> None:
        now = time.monotonic()
        for key in [key for key, (until, _) in self._entries.items() if until < now]:
            del self._entries[key]


@dataclass
class _Events:
    encoded: list[bytes] = field(default_factory=list)
    ended: bool = False


class MemoryResults:
    """`shared.ports.ResultStore`."""

    def __init__(self, settings: Settings) -> None:
        self._jobs: Expiring[_Events] = Expiring(settings.result_seconds)
        self._attempts: Expiring[int] = Expiring(settings.result_seconds)
        self.followers = Followers()

    async def append(self, entries: Sequence[Entry]) -> list[bool]:
        return [self.append_now(entry) for entry in entries]

    def append_now(self, entry: Entry) -> bool:
        events = self._jobs.get(entry.job_id) or _Events()
        if events.ended:
            return False
        events.encoded.append(entry.event.encode())
        events.ended = entry.event.final
        self._jobs.keep(entry.job_id, events)
        self.followers.offer(entry.job_id, len(events.encoded) - 1, decode_event(events.encoded[-1]))
        return True

    async def events(self, job_id: str) -> list[Event]:
        events = self._jobs.get(job_id)
        return [] if events is None else [decode_event(data) for data in events.encoded]

    async def finished(self, job_ids: Sequence[str]) -> list[bool]:
        return [(events := self._jobs.get(job_id)) is not None and events.ended for job_id in job_ids]

    @asynccontextmanager
    async def follow(self, job_id: str) -> AsyncIterator[Follower]:
        follower = self.followers.add(job_id)
        try:
            for index, event in enumerate(await self.events(job_id)):
                follower.offer(index, event)
            yield follower
        finally:
            self.followers.remove(follower)

    async def count_attempt(self, job_id: str, change: int = 1) -> int:
        count = (self._attempts.get(job_id) or 0) + change
        self._attempts.keep(job_id, count)
        return count

    def sweep(self) -> None:
        self._jobs.sweep()
        self._attempts.sweep()


@dataclass
class _Session:
    """``out_of_turn``: finished numbers above ``finished``. ``silent_at``: monotonic seconds, None once closed."""

    numbered: int = 0
    finished: int = 0
    skipped: int = 0
    state: bytes | None = None
    out_of_turn: set[int] = field(default_factory=set)
    silent_at: float | None = None
    closing: int = 0


class MemorySessions:
    """`shared.ports.SessionStore`."""

    def __init__(self, settings: Settings, results: MemoryResults) -> None:
        self._seconds = settings.session_seconds
        self._sessions: Expiring[_Session] = Expiring(settings.result_seconds + settings.session_seconds)
        self._alive: set[str] = set()
        self._results = results
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}

    async def number(self, session: str) -> int:
        found = self._sessions.get(session) or _Session()
        found.numbered += 1
        found.silent_at = time.monotonic() + self._seconds
        self._sessions.keep(session, found)
        self._alive.add(session)
        return found.numbered

    async def load(self, session: str) -> Snapshot:
        found = self._sessions.get(session) or _Session()
        return Snapshot(found.state, found.finished, found.numbered, found.skipped)

    async def save(self, turn: Turn, seen: Snapshot | None, state: bytes | None, entry: Entry | None) -> bool:
        found = self._sessions.get(turn.session) or _Session()
        if seen is None:
            self._give_up(found, turn.number)
        elif found.finished != seen.finished or found.finished >= turn.number:
            return False
        else:
            _apply(found, turn, state)
            if turn.closing:
                self._close(turn.session, found, turn.number)
        self._sessions.keep(turn.session, found)
        self._advance(turn.session, found)
        if entry is not None:
            self._results.append_now(entry)
        return True

    async def advanced(self, session: str, number: int) -> None:
        if (await self.load(session)).finished >= number:
            return
        waiting = self._waiting.setdefault(session, [])
        mine = (number, asyncio.get_running_loop().create_future())
        waiting.append(mine)
        try:
            await mine[1]
        finally:
            waiting.remove(mine)
            if not waiting:
                self._waiting.pop(session, None)

    async def expired(self) -> list[Turn]:
        now = time.monotonic()
        turns = []
        for session in list(self._alive):
            found = self._sessions.get(session)
            if found is None or found.silent_at is None:
                self._alive.discard(session)
            elif found.silent_at <= now:
                if found.closing <= found.finished:
                    found.numbered += 1
                    found.closing = found.numbered
                found.silent_at = now + LEASE_SECONDS
                turns.append(Turn(session, found.closing, closing=True))
        return turns

    def sweep(self) -> None:
        self._sessions.sweep()

    def _give_up(self, found: _Session, number: int) -> None:
        if number <= found.finished or number in found.out_of_turn:
            return
        found.out_of_turn.add(number)
        _advance_over(found)

    def _close(self, session: str, found: _Session, number: int) -> None:
        found.state = None
        if found.numbered == number:
            found.silent_at = None
            self._alive.discard(session)

    def _advance(self, session: str, found: _Session) -> None:
        for number, waiter in self._waiting.get(session, ()):
            if found.finished >= number and not waiter.done():
                waiter.set_result(None)


def _apply(found: _Session, turn: Turn, state: bytes | None) -> None:
    found.state = state
    found.finished = turn.number
    found.numbered = max(found.numbered, turn.number)
    found.skipped = 0
    found.out_of_turn = {number for number in found.out_of_turn if number > turn.number}
    _advance_over(found)


def _advance_over(found: _Session) -> None:
    """Numbers given up out of turn are passed once everything before them is finished."""
    while found.finished + 1 in found.out_of_turn:
        found.finished += 1
        found.skipped += 1
        found.out_of_turn.discard(found.finished)


class MemoryBlobs:
    """`shared.ports.BlobStore`."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.blobs_per_stream
        self._seconds = settings.blob_seconds
        self._tenants: dict[str, Expiring[bytes]] = {}

    async def put(self, tenant: str, data: bytes) -> str:
        blobs = self._tenants.setdefault(tenant, Expiring(self._seconds))
        blobs.sweep()
        if len(blobs) >= self._limit:
            raise InputTooLarge(f"a stream keeps at most {self._limit} blobs; delete some first")
        blob_id = str(uuid.uuid4())
        blobs.keep(blob_id, data)
        return blob_id

    async def get(self, tenant: str, blob_id: str) -> bytes | None:
        blobs = self._tenants.get(tenant)
        data = None if blobs is None else blobs.get(blob_id)
        if blobs is not None and data is not None:
            blobs.keep(blob_id, data)
        return data

    async def exists(self, tenant: str, blob_ids: Sequence[str]) -> list[bool]:
        return [await self.get(tenant, blob_id) is not None for blob_id in blob_ids]

    async def delete(self, tenant: str, blob_id: str) -> bool:
        blobs = self._tenants.get(tenant)
        return blobs is not None and blobs.drop(blob_id)

    def sweep(self) -> None:
        for tenant, blobs in list(self._tenants.items()):
            blobs.sweep()
            if not len(blobs):
                del self._tenants[tenant]


class MemoryIdempotency:
    """`shared.ports.IdempotencyStore`."""

    def __init__(self, settings: Settings) -> None:
        self._keys: Expiring[tuple[str, str]] = Expiring(settings.idempotency_seconds)

    async def claim(self, tenant: str, key: str, fingerprint: str, job_id: str) -> tuple[str, str]:
        place = f"{tenant}/{key}"
        taken = self._keys.get(place)
        if taken is None:
            taken = (fingerprint, job_id)
            self._keys.keep(place, taken)
        return taken

    async def release(self, tenant: str, key: str) -> None:
        self._keys.drop(f"{tenant}/{key}")

    def sweep(self) -> None:
        self._keys.sweep()


async def _keep_sweeping(sweeps: Sequence[Callable[[], None]]) -> None:
    """What expired must not stay in memory until somebody asks for it."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        for sweep in sweeps:
            sweep()


@asynccontextmanager
async def open_stores(settings: Settings, shard: int | None) -> AsyncIterator[Stores]:
    """Stores that end with the block. ``shard`` has no meaning inside one process."""
    results = MemoryResults(settings)
    sessions, blobs, idempotency = MemorySessions(settings, results), MemoryBlobs(settings), MemoryIdempotency(settings)
    sweeping = asyncio.create_task(_keep_sweeping((results.sweep, sessions.sweep, blobs.sweep, idempotency.sweep)))

    async def ping() -> None:
        """Memory is always there."""

    try:
        yield Stores(results, sessions, blobs, idempotency, ping)
    finally:
        sweeping.cancel()
        results.followers.end()
