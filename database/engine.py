"""The connection to the database of accounts and visits: SQLite in a file, or PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from shared.errors import StoreAway
from shared.settings import SettingsError

_UNDEFINED_TABLE = "42P01"
#: Errors of what was asked, not of the database that answers.
_ASKED_WRONGLY = (DataError, IntegrityError, NotSupportedError, ProgrammingError)


def parse_url(database_url: str) -> URL:
    """The address taken apart. Raises `SettingsError` unless it is of a database that we know and that outlives its connection."""
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise SettingsError("SENSORIUM_DATABASE: not the URL of a database") from None
    if url.drivername == "postgresql+asyncpg":
        return url
    if url.drivername != "sqlite+aiosqlite":
        raise SettingsError("SENSORIUM_DATABASE: starts with sqlite+aiosqlite:/// or postgresql+asyncpg://")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise SettingsError("SENSORIUM_DATABASE: SQLite needs the path of a file")
    return url


def make_engine(url: URL, seconds: float) -> AsyncEngine:
    """An engine that connects when it is first used; connecting, waiting for a lock and each statement end after ``seconds``."""
    if url.drivername.startswith("postgresql"):
        limits = {"timeout": seconds, "command_timeout": seconds}
        return create_async_engine(url, hide_parameters=True, pool_pre_ping=True, pool_timeout=seconds, connect_args=limits)
    # With no isolation level the driver leaves the beginning of transactions to us. Somewhat less than `seconds`, so that the
    # database's own, cleaner refusal comes first.
    driver: dict[str, object] = {"timeout": 0.8 * seconds, "isolation_level": None}
    engine = create_async_engine(url, hide_parameters=True, pool_timeout=seconds, connect_args=driver)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The journal's mode (WAL) is a property of the file, set when it is migrated.
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then wants to write is refused at once when another wrote meanwhile; one that says
    # so at the beginning waits its turn.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class Database:
    """Short transactions. Raises `StoreAway` when the database does not do its part within ``seconds``."""

    def __init__(self, database_url: str, seconds: float) -> None:
        url = parse_url(database_url)
        self._seconds = seconds
        self._engine = make_engine(url, seconds)
        self._failures = failures(url)
        self._reading = async_sessionmaker(self._engine, expire_on_commit=False)
        self._writing = async_sessionmaker(self._engine.execution_options(writes=True), expire_on_commit=False)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        async with self._session(self._reading) as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Committed at the end of the block, rolled back if it raises."""
        async with self._session(self._writing) as session:
            yield session

    @asynccontextmanager
    async def _session(self, maker: async_sessionmaker[AsyncSession]) -> AsyncIterator[AsyncSession]:
        try:
            async with asyncio.timeout(self._seconds), maker() as session, session.begin():
                yield session
        except self._failures as error:
            if _lacks_tables(error):
                raise StoreAway("The database is not set up; set it up with: sensorium migrate") from error
            if not means_away(error):
                raise
            raise StoreAway("The database does not answer.") from error

    async def ping(self) -> None:
        """Raise `StoreAway` unless the database answers and has our tables."""
        async with self.reading() as session:
            await session.execute(text("SELECT 1 FROM accounts LIMIT 1"))

    async def close(self) -> None:
        await self._engine.dispose()


def failures(url: URL) -> tuple[type[Exception], ...]:
    """What may be raised when something is wrong with the database; `means_away` says whether it is away."""
    common = (DBAPIError, PoolTimeout, OSError)
    if url.drivername.startswith("sqlite"):
        return (*common, sqlite3.OperationalError)
    # SQLAlchemy passes on what asyncpg raises while it connects.
    import asyncpg

    return (*common, asyncpg.PostgresError, asyncpg.InterfaceError)


def means_away(error: Exception) -> bool:
    """Whether a failure is the database's, and not of what it was asked."""
    return not isinstance(error, _ASKED_WRONGLY) or error.connection_invalidated


def _lacks_tables(error: Exception) -> bool:
    origin = getattr(error, "orig", None)
    return getattr(origin, "sqlstate", None) == _UNDEFINED_TABLE or str(origin).startswith("no such table")
