"""Questions about a year of a busy stream, with the roll-ups and without them, on SQLite and PostgreSQL.

One camera's visits, spread over a year with busy and quiet hours, beside another camera with a tenth of them. Medians of the wall time at the
caller, in milliseconds; "without" is the same sum over the visits alone, grouped by the database.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import numpy as np
from sqlalchemy import select, text
from sqlalchemy.engine import make_url

from accounts.tables import AccountRow, StreamRow
from analytics.queries import Audience
from analytics.store import Visits
from analytics.tables import HOUR_MS, VisitRow
from analytics.totals import stored_senior_age, sums
from database.engine import Database
from sensorium.migrate import migrate
from shared.visits import Visit

DAY_MS = 24 * HOUR_MS
DAYS = 365
#: The first of January 2024.
START = 1_704_067_200_000
COLUMNS = [column.name for column in VisitRow.__table__.columns]
_ROUNDS = 7
_CHUNK = 200_000
#: How busy each hour of a day is, in parts of the busiest.
_BUSY = np.array([0, 0, 0, 0, 0, 1, 2, 4, 6, 7, 8, 9, 10, 9, 8, 8, 9, 10, 8, 6, 4, 2, 1, 0], float)

Row = tuple[Any, ...]
Ask = Callable[[], Awaitable[object]]


def rows(stream: str, count: int, seed: int) -> Iterator[list[Row]]:
    """Rows of `COLUMNS`, in chunks; the same for the same seed."""
    chance = np.random.default_rng(seed)
    for done in range(0, count, _CHUNK):
        size = min(_CHUNK, count - done)
        hours = chance.choice(24, size, p=_BUSY / _BUSY.sum())
        started = START + chance.integers(0, DAYS, size) * DAY_MS + hours * HOUR_MS + chance.integers(0, HOUR_MS, size)
        view = chance.exponential(12_000, size).astype(int)
        stop = (view * chance.uniform(0, 1, size) * (chance.random(size) < 0.4)).astype(int)
        attention = (view * chance.uniform(0, 0.7, size) * (chance.random(size) < 0.5)).astype(int)
        ages = np.round(chance.normal(40, 18, size).clip(3, 95), 1)
        genders = chance.choice(np.array([None, "female", "male"], object), size)
        happiness = chance.integers(0, 10_001, size)
        bits = chance.bytes(16 * size)
        ids = (bits[at : at + 16].hex() for at in range(0, 16 * size, 16))
        named = (f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}" for one in ids)
        lists = (x.tolist() for x in (started, view, stop, attention, ages, genders, happiness))
        yield [
            (one, stream, *rest, "left", True, row_started) for one, *rest, row_started in zip(named, *lists, started.tolist(), strict=True)
        ]


def fill_sqlite(path: str, stream: str, count: int, seed: int) -> None:
    """Put that many visits of the stream into the file."""
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA cache_size = -2000000")
        connection.execute("PRAGMA synchronous = OFF")
        statement = f"INSERT INTO visits ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
        for chunk in rows(stream, count, seed):
            connection.execute("BEGIN")
            connection.executemany(statement, sorted(chunk))
            connection.execute("COMMIT")
    connection.close()


async def fill_postgresql(url: str, stream: str, count: int, seed: int) -> None:
    """Put that many visits of the stream into the database, and let it look at its tables, as it would by itself some time later."""
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
    for chunk in rows(stream, count, seed):
        await connection.copy_records_to_table("visits", records=chunk, columns=COLUMNS)
    await connection.execute("VACUUM ANALYZE visits", timeout=600)
    await connection.close()


async def filled(url: str, count: int) -> tuple[str, float]:
    """(the busy stream, seconds that rolling everything up took) of a new database with both cameras' visits."""
    await migrate(url)
    database = Database(url, 3600)
    account, streams = str(uuid.uuid4()), [str(uuid.uuid4()) for _ in range(2)]
    async with database.writing() as session:
        session.add(AccountRow(id=account, email="a@b", email_key="a@b", password_hash="", plan="enterprise", operator=False))
        await session.flush()
        session.add_all(StreamRow(client_id=one, account_id=account, name="door", token_digest=b"", token_sealed=b"") for one in streams)
    for seed, (stream, share) in enumerate(zip(streams, (count, count // 10), strict=True)):
        if url.startswith("sqlite"):
            await asyncio.to_thread(fill_sqlite, str(make_url(url).database), stream, share, seed)
        else:
            await fill_postgresql(url, stream, share, seed)
    begin = time.perf_counter()
    await Visits(database, 50.0).prepare()
    seconds = time.perf_counter() - begin
    if url.startswith("postgresql"):
        async with database.writing() as session:
            await session.execute(text("ANALYZE visit_hours"))
    await database.close()
    return streams[0], seconds


class Questions:
    """What a console asks about one stream, with the roll-ups and without."""

    def __init__(self, database: Database, stream: str) -> None:
        self._database, self._stream = database, stream
        self._audience = Audience(database)

    async def buckets(self, size: int, count: int, shift: int = 0) -> object:
        """The page of the first ``count`` spans of ``size`` milliseconds, then the next ones, up to a year."""
        found = []
        edges = [min(START + shift + size * n, START + shift + DAYS * DAY_MS) for n in range(count + 1)]
        for first in range(0, count, 100):
            found += await self._audience.totals(self._stream, edges[first : first + 101])
        return found

    async def plain(self, size: int, begin: int, end: int) -> object:
        """The same of the visits alone."""
        span = (VisitRow.started - (VisitRow.started - begin) % size).label("span")
        mine = (VisitRow.stream == self._stream, VisitRow.started >= begin, VisitRow.started < end)
        async with self._database.reading() as session:
            return (await session.execute(select(span, *sums(stored_senior_age())).where(*mine).group_by(span))).all()

    async def listed(self, offset: int) -> object:
        """A page of 100 visits."""
        return await self._audience.visits(self._stream, START, START + DAYS * DAY_MS, offset=offset, limit=100)

    def asked(self, count: int) -> dict[str, tuple[Ask, Ask | None]]:
        """By what is asked: how with roll-ups, and how without."""
        year, half, early = DAYS * DAY_MS, HOUR_MS // 2, 5 * HOUR_MS + 45 * 60_000
        first = START + 100 * DAY_MS
        return {
            "a year by day (4 pages)": (lambda: self.buckets(DAY_MS, DAYS), lambda: self.plain(DAY_MS, START, START + year)),
            "a year by day, days that begin at half past": (
                lambda: self.buckets(DAY_MS, DAYS, half),
                lambda: self.plain(DAY_MS, START + half, START + half + year),
            ),
            "100 hours": (
                lambda: self._audience.totals(self._stream, [first + n * HOUR_MS for n in range(101)]),
                lambda: self.plain(HOUR_MS, first, first + 100 * HOUR_MS),
            ),
            "100 hours that begin at a quarter to": (lambda: self.buckets(HOUR_MS, 100, early), None),
            "the year": (
                lambda: self._audience.totals(self._stream, [START + early, START + year]),
                lambda: self.plain(year, START, START + year),
            ),
            "how many visits": (lambda: self._audience.count(self._stream, START, START + year), None),
            "visits, the first page": (lambda: self.listed(0), None),
            "visits, the last page": (lambda: self.listed(count - 100), None),
        }


async def timed(ask: Ask) -> float:
    """Milliseconds, the median of several rounds after one that warms up."""
    await ask()
    spent = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        await ask()
        spent.append((time.perf_counter() - begin) * 1000)
    return median(spent)


async def write_speed(database: Database, stream: str) -> float:
    """Milliseconds a transaction of 500 visits of the busiest hour, all of them new."""
    visits, spent = Visits(database, 50.0), []
    for number in range(_ROUNDS):
        at = (START + 200 * DAY_MS + 12 * HOUR_MS) / 1000 + number
        new = [Visit(str(uuid.uuid4()), at, 10.0, 4.0, 2.0, 30.0, "female", 0.5, closed=True) for _ in range(500)]
        begin = time.perf_counter()
        await visits.write([(stream, replace(one, started=at + index)) for index, one in enumerate(new)])
        spent.append((time.perf_counter() - begin) * 1000)
    return median(spent)


async def measured(url: str, count: int) -> dict[str, tuple[float, float | None]]:
    """Milliseconds with roll-ups and without, by what was asked."""
    begin = time.perf_counter()
    stream, rolling = await filled(url, count)
    print(
        f"{make_url(url).get_backend_name()}: filled in {time.perf_counter() - begin:.0f} s, of them {rolling:.1f} s rolling up", flush=True
    )
    database = Database(url, 600)
    found: dict[str, tuple[float, float | None]] = {}
    for name, (ask, without) in Questions(database, stream).asked(count).items():
        found[name] = (await timed(ask), None if without is None else await timed(without))
        print(name, found[name], flush=True)
    found["writing 500 visits into one hour"] = (await write_speed(database, stream), None)
    found["rolling everything up"] = (rolling * 1000, None)
    begin = time.perf_counter()
    deleted = await Visits(database, 50.0).delete(stream, START + 30 * DAY_MS)
    found["deleting 100,000 visits"] = ((time.perf_counter() - begin) * 1e8 / max(1, deleted), None)
    await database.close()
    return found


@asynccontextmanager
async def _postgresql(folder: Path) -> AsyncIterator[str]:
    """The URL of an empty database on a server of our own."""
    from tests.servers import obtain

    with obtain("postgresql", folder) as server:
        url = make_url(server.url)
        connection = await asyncpg.connect(server.url)
        name = f"bench{uuid.uuid4().hex[:8]}"
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            yield url.set(drivername="postgresql+asyncpg", database=name).render_as_string(hide_password=False)
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await connection.close()


async def _both(count: int) -> list[dict[str, tuple[float, float | None]]]:
    with tempfile.TemporaryDirectory(prefix="sensorium-bench-") as name:
        folder = Path(name)
        sqlite = await measured(f"sqlite+aiosqlite:///{folder}/visits.db", count)
        folder.joinpath("postgresql").mkdir()
        async with _postgresql(folder / "postgresql") as url:
            return [sqlite, await measured(url, count)]


def table(count: int) -> str:
    """What each question costs, with ``count`` visits a year."""
    sqlite, postgresql = asyncio.run(_both(count))
    head = "| ms | SQLite | without roll-ups | PostgreSQL | without roll-ups |"
    lines = [head, "|---|---:|---:|---:|---:|"]
    for name in sqlite:
        cells = [_cell(value) for pair in (sqlite[name], postgresql[name]) for value in pair]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
