"""Bringing a database to the tables of this program, from nothing or from any version before."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from database.engine import failures, make_engine, means_away, parse_url
from shared.errors import StoreAway
from shared.settings import SettingsError

_FOLDER = Path(__file__).parent / "migrations"
#: Any number that is ours: PostgreSQL's advisory locks have no names.
LOCK = 0x53454E53
# Alembic keeps the migration at work in variables of its module.
_one_at_a_time = threading.Lock()


class MigrationFailed(SettingsError):
    """The database is of a version that this program does not know; a newer program wrote it."""


async def migrate(database_url: str, seconds: float = 60) -> None:
    """Create or update the tables; nothing happens when they are as they should be.

    Processes that start at once wait for one another, for at most ``seconds``. All or nothing: a migration that fails
    leaves the database as it was. Raises `SettingsError` for an unusable URL, `MigrationFailed` for a database of a newer
    program, `StoreAway` when the database cannot be reached or another process has not finished in time.
    """
    await asyncio.to_thread(_in_turn, parse_url(database_url), seconds)


def configuration() -> Config:
    """Alembic's configuration, which is code and no file."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def _in_turn(url: URL, seconds: float) -> None:
    try:
        with _one_at_a_time:
            asyncio.run(_migrate(url, seconds))
    except failures(url) as error:
        if not means_away(error):
            raise
        # Without the statement, which SQLAlchemy would tell too.
        reason = getattr(error, "orig", None) or error
        raise StoreAway(f"The database cannot be set up: {str(reason) or type(reason).__name__}") from error


async def _migrate(url: URL, seconds: float) -> None:
    engine = make_engine(url, seconds).execution_options(writes=True)
    try:
        if url.database is not None and url.drivername.startswith("sqlite"):
            async with _sqlite_file(Path(url.database), seconds):
                await _upgrade(engine)
        else:
            await _upgrade(engine)
    finally:
        await engine.dispose()


@asynccontextmanager
async def _sqlite_file(path: Path, seconds: float) -> AsyncIterator[None]:
    """Make the file, for its owner only, and its journal a WAL.

    SQLite refuses at once, without waiting, when two processes change the journal's mode: a second, empty database is the
    lock over that. It is freed when its holder dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    async with aiosqlite.connect(path.with_name(path.name + ".lock"), timeout=seconds, isolation_level=None) as lock:
        await lock.execute("BEGIN EXCLUSIVE")
        _make_private(path)
        async with aiosqlite.connect(path, timeout=seconds, isolation_level=None) as database:
            await database.execute("PRAGMA journal_mode = WAL")
        yield


def _make_private(path: Path) -> None:
    # The files beside it (-wal, -shm) take over its mode. An empty one may have been left by a program that came too early.
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        if os.fstat(handle).st_size == 0:
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


async def _upgrade(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        await connection.run_sync(_to_head)


def _to_head(connection: Connection) -> None:
    config = configuration()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise MigrationFailed(f"{MigrationFailed.__doc__} ({error})") from error
