"""Everything of one database into another: from a box's SQLite to the PostgreSQL of many, or back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from database.engine import failures, make_engine, means_away, parse_url
from database.tables import Base
from sensorium.migrate import migrate
from shared.errors import StoreAway
from shared.settings import SettingsError

_ROWS = 1000  # at a time, in memory and in a statement


class NotEmpty(SettingsError):
    """The database to copy into holds something already; nothing was copied."""


async def copy(source_url: str, target_url: str, seconds: float = 600) -> dict[str, int]:
    """Bring both to this program's tables, then copy every row; returns the rows of each table.

    All or nothing. Nobody may write to the source meanwhile. ``seconds``: what one statement may take. Raises `NotEmpty`,
    and as `migrate` does.
    """
    import accounts.tables  # noqa: F401 - Base knows the tables of what was imported
    import analytics.tables  # noqa: F401

    for url in (source_url, target_url):
        await migrate(url)
    source, target = (make_engine(parse_url(url), seconds) for url in (source_url, target_url))
    try:
        async with source.connect() as reading, target.execution_options(writes=True).begin() as writing:
            return {table.name: await _copy(table, reading, writing) for table in Base.metadata.sorted_tables}
    except (*failures(source.url), *failures(target.url)) as error:
        if not means_away(error):
            raise
        # Without the statement, whose rows SQLAlchemy would tell too.
        raise StoreAway(f"Nothing was copied: {getattr(error, 'orig', None) or error}") from error
    finally:
        await source.dispose()
        await target.dispose()


async def _copy(table: Table, reading: AsyncConnection, writing: AsyncConnection) -> int:
    if await writing.scalar(select(func.count()).select_from(table)):
        raise NotEmpty(f"the database to copy into has rows in {table.name} already; nothing was copied")
    copied = 0
    rows = await reading.stream(select(table).execution_options(yield_per=_ROWS))
    async for part in rows.mappings().partitions():
        values: list[dict[str, Any]] = [dict(row) for row in part]
        await writing.execute(insert(table), values)
        copied += len(values)
    return copied
