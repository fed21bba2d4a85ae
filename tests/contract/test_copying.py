"""A box's database moved to the database of many."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text

from accounts.model import Plan
from accounts.store import open_accounts
from analytics.tables import VisitRow
from database.engine import Database
from database.tables import Base
from sensorium.copying import NotEmpty, copy
from sensorium.migrate import migrate
from shared.errors import StoreAway
from shared.settings import Settings, read_settings

ANN, PASSWORD = "ann@example.com", "correct horse"
VISITS = 2500


def settings_for(database: str) -> Settings:
    return read_settings({}, database=database, secret_key="k" * 32)


@pytest.fixture
async def source(tmp_path: Path) -> str:
    """The URL of a SQLite with an account, a stream and its visits."""
    url = f"sqlite+aiosqlite:///{tmp_path}/box.db"
    await migrate(url)
    async with open_accounts(settings_for(url)) as accounts:
        await accounts.create_account(ANN, PASSWORD, Plan.ENTERPRISE)
        secret = await accounts.streams.add(ANN, "Door")
        async with accounts.database.writing() as session:
            values = {"stream": secret.client_id, "view_ms": 1, "stop_ms": 0, "attention_ms": 0, "direction": "unknown", "closed": True}
            rows = [{**values, "id": str(number), "started": 2**41 + number, "revised": 0, "age": 33.5} for number in range(VISITS)]
            await session.execute(insert(VisitRow), rows)
    return url


async def test_everything_is_there_afterwards(source: str, postgresql_database: str) -> None:
    async with open_accounts(settings_for(source)) as accounts:
        (before,) = await accounts.streams.of(ANN)
        secret = await accounts.streams.reveal(before)
    assert secret is not None
    rows = await copy(source, postgresql_database)
    assert (rows["accounts"], rows["streams"], rows["visits"]) == (1, 1, VISITS)
    assert set(rows) == set(Base.metadata.tables)
    async with open_accounts(settings_for(postgresql_database)) as accounts:
        assert await accounts.check_password(ANN, PASSWORD) is not None
        tenant = await accounts.credentials.verify(secret.client_id, secret.access_token)
        assert tenant is not None
    database = Database(postgresql_database, 5)
    async with database.reading() as session:
        assert await session.scalar(select(func.sum(VisitRow.started))) == sum(2**41 + number for number in range(VISITS))
    await database.close()


async def test_nothing_is_copied_over_what_is_there(source: str, postgresql_database: str) -> None:
    await copy(source, postgresql_database)
    with pytest.raises(NotEmpty, match="rows in accounts already"):
        await copy(source, postgresql_database)


async def test_a_copy_that_fails_leaves_nothing(source: str, postgresql_database: str) -> None:
    database = Database(source, 5)
    async with database.writing() as session:
        await session.execute(text("UPDATE visits SET direction = 'longer than its column'"))
    await database.close()
    with pytest.raises(StoreAway, match="too long"):
        await copy(source, postgresql_database)
    database = Database(postgresql_database, 5)
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Base.metadata.tables["accounts"])) == 0
    await database.close()
