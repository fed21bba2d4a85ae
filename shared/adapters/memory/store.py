"""Results, sessions, streams, blobs, idempotency keys and counted seconds in this process's memory.

The same encoded bytes as behind a server are kept, so that nothing is shared by reference. What expires is dropped
when its neighbours are touched.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from shared.adapters.memory.meter import MemoryMeter
from shared.adapters.memory.operations import MemoryCensus, MemoryLetters, MemoryWorkers
from shared.adapters.memory.streams import MemoryStreams
from shared.aio import TtlCache
from shared.errors import InputTooLarge
from shared.events import Event
from shared.followers import PIECE_GONE, Follower, Followers, is_piece, stored_event, stored_form
from shared.jobs import Turn
from shared.ports import Entry, Snapshot, Stores
from shared.settings import Settings

_FINAL_MARK = b"1"


@asynccontextmanager
async def open_stores(settings: Settings, shard: int | None) -> AsyncIterator[Stores]:
    """Empty stores of this process's own. ``shard`` says nothing here: every event is pushed in this process."""
    results = MemoryResults(settings.result_seconds, settings.piece_seconds)
    sessions = MemorySessions(results, settings)
    streams = MemoryStreams(settings)

    async def ping() -> None:
        """This process answers."""

    try:
        yield Stores(
            results=results,
            sessions=sessions,
            streams=streams,
            blobs=MemoryBlobs(settings),
            idempotency=MemoryIdempotency(settings),
            meter=MemoryMeter(),
            workers=MemoryWorkers(settings.announced_seconds),
            census=MemoryCensus(sessions.alive),
            letters=MemoryLetters(settings, results),
            ping=ping,
        )
    finally:
        streams.close()
        await results.close()


class MemoryResults:
    """`shared.ports.ResultStore` in memory."""

    def __init__(self, result_seconds: float, piece_seconds: float) -> None:
        self._lists = _EventLists(result_seconds, piece_seconds)
        self._attempts: TtlCache[str, int] = TtlCache(result_seconds)
        self._followers = Followers(self._read_lists)

    async def append(self, entries: Sequence[Entry]) -> list[bool]:
        return [self.append_one(entry) for entry in entries]

    def append_one(self, entry: Entry) -> bool:
        """`append` of one entry, as a step of something larger."""
        data = stored_form(entry.event)
        index = self._lists.append(entry.job_id, data)
        if index is None:
            return False
        self._followers.push(entry.job_id, index, data)
        return True

    async def events(self, job_id: str, start: int = 0) -> list[Event]:
        return [stored_event(data) for data in self._lists.read(job_id, start)]

    async def finished(self, job_ids: Sequence[str]) -> list[bool]:
        return [self._lists.has_ended(job_id) for job_id in job_ids]

    def follow(self, job_id: str) -> Follower:
        return Follower(self._followers, job_id, self._catch_up)

    async def count_attempt(self, job_id: str, change: int = 1) -> int:
        count = (self._attempts.get(job_id) or 0) + change
        self._attempts.put(job_id, count)
        return count

    def last(self, job_id: str) -> Event | None:
        """The last event of a job; None when its list is gone."""
        data = self._lists.last(job_id)
        return stored_event(data) if data else None

    def replace_last(self, job_id: str, event: Event) -> None:
        """Put ``event`` in the place of the final one, or at the end of an unfinished list.

        The attempts are forgotten.
        """
        data = stored_form(event)
        index = self._lists.replace_last(job_id, data)
        self._attempts.pop(job_id)
        self._followers.push(job_id, index, data)

    async def close(self) -> None:
        await self._followers.close()

    async def _catch_up(self, follower: Follower) -> None:
        self._followers.push_list(follower.job_id, 0, self._lists.read(follower.job_id, 0))

    async def _read_lists(self, places: Sequence[tuple[str, int]]) -> Sequence[Sequence[bytes]]:
        return [self._lists.read(job_id, start) for job_id, start in places]


class _EventLists:
    """The event list of each job, in the form in which stores keep events."""

    def __init__(self, result_seconds: float, piece_seconds: float) -> None:
        self._lists: TtlCache[str, list[bytes]] = TtlCache(result_seconds)
        self._pieces = _Pieces(result_seconds, piece_seconds)

    def append(self, job_id: str, data: bytes) -> int | None:
        """The index of the new event; None when the list has ended."""
        events = self._lists.get(job_id) or []
        if events and events[-1].startswith(_FINAL_MARK):
            return None
        events.append(self._pieces.kept(job_id, len(events), data))
        self._lists.put(job_id, events)
        return len(events) - 1

    def replace_last(self, job_id: str, data: bytes) -> int:
        """Put an event in the place of the final one, or at the end of an unfinished list; its index."""
        events = self._lists.get(job_id) or []
        if events and events[-1].startswith(_FINAL_MARK):
            events.pop()
        events.append(data)
        self._lists.put(job_id, events)
        return len(events) - 1

    def last(self, job_id: str) -> bytes:
        """The last event; nothing when the list is gone."""
        return (self._lists.get(job_id) or [b""])[-1]

    def has_ended(self, job_id: str) -> bool:
        return self.last(job_id).startswith(_FINAL_MARK)

    def read(self, job_id: str, start: int) -> list[bytes]:
        """The events from an index on."""
        return self._pieces.put_back(job_id, self._lists.get(job_id) or [])[start:]


class _Pieces:
    """Pieces of answers, beside the lists of their jobs: once a job has ended they are gone sooner than its list."""

    def __init__(self, result_seconds: float, piece_seconds: float) -> None:
        self._open: TtlCache[str, dict[int, bytes]] = TtlCache(result_seconds)
        self._ended: TtlCache[str, dict[int, bytes]] = TtlCache(min(result_seconds, piece_seconds))

    def kept(self, job_id: str, index: int, data: bytes) -> bytes:
        """What goes into the job's list for an event."""
        if is_piece(data):
            self._open.put(job_id, {**(self._open.get(job_id) or {}), index: data})
            return PIECE_GONE
        if data.startswith(_FINAL_MARK) and (pieces := self._open.pop(job_id)) is not None:
            self._ended.put(job_id, pieces)
        return data

    def put_back(self, job_id: str, events: list[bytes]) -> list[bytes]:
        """The list with the pieces that are still kept."""
        if PIECE_GONE not in events:
            return events
        pieces = {**(self._ended.get(job_id) or {}), **(self._open.get(job_id) or {})}
        return [pieces.get(index, data) for index, data in enumerate(events)]


@dataclass(slots=True)
class _Session:
    """A session. ``due``: when it falls silent (monotonic). ``closing``: the number of its closing under way, else 0;
    ``wake``: when somebody looks at it next, None once it is closed. ``given_up``: numbers given up out of turn."""

    due: float
    wake: float | None
    numbered: int = 0
    finished: int = 0
    skipped: int = 0
    closing: int = 0
    state: bytes | None = None
    given_up: set[int] = field(default_factory=set)


class MemorySessions:
    """`shared.ports.SessionStore` in memory."""

    def __init__(self, results: MemoryResults, settings: Settings) -> None:
        self._results = results
        self._seconds, self._lease = settings.session_seconds, settings.closing_lease_seconds
        self._closing_seconds, self._job_seconds = settings.closing_seconds, settings.deadline_seconds
        self._sessions: TtlCache[str, _Session] = TtlCache(settings.session_seconds + settings.result_seconds)
        self._parked: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}

    async def number(self, session: str) -> int:
        found = self._touch(session)
        found.numbered += 1
        found.due = time.monotonic() + self._seconds
        if not found.closing:
            found.wake = found.due
        return found.numbered

    async def load(self, session: str) -> Snapshot:
        found = self._sessions.get(session)
        return Snapshot(None, 0, 0) if found is None else Snapshot(found.state, found.finished, found.numbered, found.skipped)

    async def save(self, turn: Turn, seen: Snapshot | None, state: bytes | None, entry: Entry | None) -> bool:
        known = self._sessions.get(turn.session)
        before = 0 if known is None else known.finished
        if seen is not None and (seen.finished != before or turn.number <= before):
            return False
        if entry is not None:
            self._results.append_one(entry)
        if turn.number > before:
            self._finish(self._touch(turn.session), turn, seen is not None, state)
        return True

    async def advanced(self, session: str, number: int) -> None:
        found = self._sessions.get(session)
        if number <= (0 if found is None else found.finished):
            return
        parked = (number, asyncio.get_running_loop().create_future())
        self._parked.setdefault(session, []).append(parked)
        try:
            await parked[1]
        finally:
            self._leave(session, parked)

    async def expired(self, *, every: bool = False) -> list[Turn]:
        now, turns = time.monotonic(), []
        for name in list(self._sessions):
            found = self._sessions.get(name)
            if found is None or found.wake is None or (found.wake > now and not every):
                continue
            under_way = not found.closing and found.numbered > found.finished
            if under_way and now < found.due + self._job_seconds and not every:
                found.wake = found.due + self._job_seconds
                continue
            if not found.closing:
                found.numbered += 1
                found.closing = found.numbered
            if now < found.due + self._closing_seconds:
                self._sessions.put(name, found)
            found.wake = now + self._lease
            turns.append(Turn(name, found.closing, closing=True))
        return turns

    def alive(self) -> Iterator[str]:
        """The sessions that were not closed."""
        for name in list(self._sessions):
            found = self._sessions.get(name)
            if found is not None and found.wake is not None:
                yield name

    def _touch(self, session: str) -> _Session:
        """The session, made if need be, kept for another while."""
        found = self._sessions.get(session)
        if found is None:
            due = time.monotonic() + self._seconds
            found = _Session(due, due)
        self._sessions.put(session, found)
        return found

    def _finish(self, found: _Session, turn: Turn, applied: bool, state: bytes | None) -> None:
        before = found.finished
        found.numbered = max(found.numbered, turn.number)
        if turn.closing:
            found.closing = turn.number
        if applied:
            found.finished, found.skipped, found.state = turn.number, 0, None if turn.closing else state
            found.given_up = {number for number in found.given_up if number > turn.number}
        else:
            found.given_up.add(turn.number)
        self._pass_given_up(found)
        found.due = time.monotonic() + self._seconds
        if not found.closing:
            found.wake = found.due
        elif found.closing <= found.finished:
            found.wake = found.due if found.numbered > found.closing else None
            found.closing = 0
        if found.finished > before:
            self._tell(turn.session, found.finished)

    def _pass_given_up(self, found: _Session) -> None:
        while found.finished + 1 in found.given_up:
            found.finished += 1
            found.skipped += 1
            found.given_up.discard(found.finished)
            if found.finished == found.closing:
                found.skipped, found.state = 0, None

    def _tell(self, session: str, finished: int) -> None:
        for number, future in self._parked.get(session, ()):
            if number <= finished and not future.done():
                future.set_result(None)

    def _leave(self, session: str, parked: tuple[int, asyncio.Future[None]]) -> None:
        waiting = self._parked[session]
        waiting.remove(parked)
        if not waiting:
            del self._parked[session]


class MemoryBlobs:
    """`shared.ports.BlobStore` in memory."""

    def __init__(self, settings: Settings) -> None:
        self._seconds, self._most = settings.blob_seconds, settings.blobs_per_stream
        self._by_tenant: TtlCache[str, TtlCache[str, bytes]] = TtlCache(settings.blob_seconds)

    async def put(self, tenant: str, data: bytes) -> str:
        blobs = self._by_tenant.get(tenant)
        if blobs is None:
            blobs = TtlCache(self._seconds)
        if len(blobs) >= self._most:
            raise InputTooLarge(f"there are {self._most} blobs already, which is the most; delete some")
        blob_id = str(uuid.uuid4())
        blobs.put(blob_id, bytes(data))
        self._by_tenant.put(tenant, blobs)
        return blob_id

    async def get(self, tenant: str, blob_id: str) -> bytes | None:
        blobs = self._by_tenant.get(tenant)
        data = None if blobs is None else blobs.get(blob_id)
        if blobs is not None and data is not None:
            blobs.put(blob_id, data)
            self._by_tenant.put(tenant, blobs)
        return data

    async def exists(self, tenant: str, blob_ids: Sequence[str]) -> list[bool]:
        """Asking is a use: whoever refers to a blob in a job wants it to be there when the job runs."""
        return [await self.get(tenant, blob_id) is not None for blob_id in blob_ids]

    async def delete(self, tenant: str, blob_id: str) -> bool:
        blobs = self._by_tenant.get(tenant)
        return blobs is not None and blobs.pop(blob_id) is not None


class MemoryIdempotency:
    """`shared.ports.IdempotencyStore` in memory."""

    def __init__(self, settings: Settings) -> None:
        self._claims: TtlCache[str, tuple[str, str]] = TtlCache(settings.idempotency_seconds)

    async def claim(self, tenant: str, key: str, fingerprint: str, job_id: str) -> tuple[str, str]:
        name = f"{len(tenant)}:{tenant}{key}"
        taken = self._claims.get(name)
        if taken is None:
            self._claims.put(name, (fingerprint, job_id))
            return fingerprint, job_id
        return taken

    async def release(self, tenant: str, key: str) -> None:
        self._claims.pop(f"{len(tenant)}:{tenant}{key}")
