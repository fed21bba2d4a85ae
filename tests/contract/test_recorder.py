"""The recorder between the queue and the database."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from accounts.store import open_accounts
from analytics.queries import Audience
from analytics.recorder import Recorder
from analytics.store import Visits
from database.engine import Database
from database.migrate import migrate
from shared.bootstrap import open_broker
from shared.errors import StoreAway
from shared.ports import DEAD_LETTERS, Broker, Message
from shared.settings import Settings, read_settings
from shared.visits import VISITS, Visit
from tests.contract.brokers import Inbox, until
from tests.contract.test_accounts import PASSWORD


class Desk:
    """A recorder's surroundings, on the in-process broker and SQLite."""

    def __init__(self, settings: Settings, broker: Broker, database: Database, stream: str) -> None:
        self.broker, self.stream, self.audience = broker, stream, Audience(database)
        self.other_writer = Visits(database, 50.0)
        self.recorder = Recorder(settings, broker, Visits(database, 50.0))

    async def tell(self, count: int) -> None:
        for _ in range(count):
            told = Visit(str(uuid.uuid4()), 1_700_000_000.0, 5.0, closed=True)
            await self.broker.publish(Message(VISITS, told.encode(self.stream), told.id, makes_queue=True))

    async def written(self) -> int:
        return await self.audience.count(self.stream, 0, 2_000_000_000_000)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    url = f"sqlite+aiosqlite:///{tmp_path}/visits.db"
    settings = read_settings({}, database=url, secret_key="k" * 32, retry_pause_seconds=0.01, recorder_batch=7, visit_days=0)
    await migrate(url)
    async with open_accounts(settings) as accounts, open_broker(settings) as broker:
        await accounts.create_account("ann@example.com", PASSWORD)
        stream = await accounts.add_stream("ann@example.com", "Door")
        database = Database(url, 1)
        yield Desk(settings, broker, database, stream.client_id)
        await database.close()


async def test_what_was_told_before_anybody_recorded_is_written(desk: Desk) -> None:
    await desk.tell(20)
    await desk.recorder.start()

    async def all_written() -> bool:
        return await desk.written() == 20

    await until(all_written)
    await desk.recorder.verify()
    await desk.recorder.stop()
    assert (await desk.broker.depth(VISITS)).ready == 0


async def test_stopping_writes_what_is_in_hand(desk: Desk) -> None:
    await desk.recorder.start()
    await desk.tell(5)
    await asyncio.sleep(0)  # the broker hands them over in the next turn of the loop
    await desk.recorder.stop()
    assert await desk.written() + (await desk.broker.depth(VISITS)).ready == 5


async def test_what_is_no_visit_goes_to_the_dead_letters(desk: Desk) -> None:
    await desk.recorder.start()
    letters = Inbox()
    await desk.broker.consume(DEAD_LETTERS, 1, letters)
    await desk.broker.publish(Message(VISITS, b"{}", "broken", makes_queue=True))
    letter = await letters.next()
    assert (letter.body, letter.reason) == (b"{}", "rejected")
    letter.ack()
    await desk.tell(1)

    async def written() -> bool:
        return await desk.written() == 1

    await until(written)
    await desk.recorder.stop()


async def test_a_database_that_is_away_loses_nothing(desk: Desk, tmp_path: Path) -> None:
    await desk.recorder.start()
    # For SQLite that is a lock which another program holds for longer than anybody waits.
    other = sqlite3.connect(tmp_path / "visits.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await desk.tell(3)

    with pytest.raises(StoreAway):
        await desk.other_writer.write([(desk.stream, Visit(str(uuid.uuid4()), 1.0, 1.0))])
    other.execute("ROLLBACK")
    other.close()

    async def all_written() -> bool:
        return await desk.written() == 3

    await until(all_written)
    await desk.recorder.stop()
