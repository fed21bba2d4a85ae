"""The recorder between the queue and the database."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from accounts.store import open_accounts
from analytics.queries import Audience
from analytics.recorder import Recorder
from analytics.store import Visits
from database.engine import Database
from sensorium.migrate import migrate
from sensorium.processes.adapters import open_broker
from shared import metrics
from shared.errors import BrokerAway, StoreAway
from shared.ports import DEAD_LETTERS, Broker, Message
from shared.settings import Settings, read_settings
from shared.visits import VISITS, Visit, decode_visit
from tests.contract.brokers import Inbox, until
from tests.contract.test_accounts import PASSWORD


class Held:
    """A delivery (`shared.ports.Delivery`) that remembers how it was settled."""

    redelivered, reason = False, None

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.settled: str | None = None

    def ack(self) -> None:
        self.settled = "acknowledged"

    def reject(self, *, requeue: bool) -> None:
        self.settled = "given back" if requeue else "rejected"


class Desk:
    """A recorder's surroundings, on the in-process broker and SQLite."""

    def __init__(self, settings: Settings, broker: Broker, database: Database, patient: Database, stream: str) -> None:
        self.settings, self.broker, self.stream, self.audience = settings, broker, stream, Audience(patient)
        self.database = database
        self.other_writer = Visits(database, 50.0)
        self.recorder = Recorder(settings, broker, Visits(database, settings.senior_age))

    async def tell(self, count: int) -> None:
        for _ in range(count):
            told = Visit(str(uuid.uuid4()), 1_700_000_000.0, 5.0, closed=True)
            await self.broker.publish(Message(VISITS, told.encode(self.stream), told.id, makes_queue=True))

    async def written(self) -> int:
        return await self.audience.count(self.stream, 0, 2_000_000_000_000)


def dropped(reason: str) -> float:
    return metrics.VISITS_DROPPED.labels(reason)._value.get()


@contextmanager
def locked(desk: Desk) -> Iterator[None]:
    """The database is away: for SQLite that is a lock which another program holds for longer than anybody waits."""
    path = make_url(desk.settings.database_url).database
    assert path is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    url = f"sqlite+aiosqlite:///{tmp_path}/visits.db"
    settings = read_settings({}, database=url, secret_key="k" * 32, retry_pause_seconds=0.01, recorder_batch=7, visit_days=0)
    await migrate(url)
    async with open_accounts(settings) as accounts, open_broker(settings) as broker:
        await accounts.create_account("ann@example.com", PASSWORD)
        stream = await accounts.streams.add("ann@example.com", "Door")
        database, patient = Database(url, 1), Database(url, 30)
        yield Desk(settings, broker, database, patient, stream.client_id)
        await patient.close()
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


async def test_stopping_writes_the_whole_queue_that_ends_with_the_process(desk: Desk) -> None:
    await desk.recorder.start()
    await desk.tell(60)  # more than the recorder takes at a time
    await desk.recorder.stop(empty_queue=True)
    assert await desk.written() == 60


async def test_stopping_without_having_begun(desk: Desk) -> None:
    await desk.recorder.stop(empty_queue=True)
    with pytest.raises(BrokerAway):
        await desk.recorder.verify()


async def test_other_seniors_are_rolled_up_before_it_begins(desk: Desk) -> None:
    await desk.recorder.start()
    await desk.recorder.stop()
    older = Recorder(desk.settings.model_copy(update={"senior_age": 61.0}), desk.broker, Visits(desk.database, 61.0))
    await older.start()
    assert await desk.audience.senior_age() == 61.0
    await older.stop()


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


@pytest.mark.parametrize(
    "told",
    [
        Visit("x" * 37, 1.0, 1.0),
        Visit("a\0b", 1.0, 1.0),
        Visit("a", 1e15, 1.0),
        Visit("a", 1.0, 1e9),
        Visit("a", 1.0, 1.0, age=1e9),
        Visit("a", 1.0, 1.0, happiness=1.5),
    ],
)
async def test_what_no_table_can_hold_goes_to_the_dead_letters(desk: Desk, told: Visit) -> None:
    await desk.recorder.start()
    letters = Inbox()
    await desk.broker.consume(DEAD_LETTERS, 1, letters)
    await desk.broker.publish(Message(VISITS, told.encode(desk.stream), told.id, makes_queue=True))
    (await letters.next()).ack()
    await desk.recorder.stop()
    assert await desk.written() == 0


async def test_visits_of_a_stream_that_is_gone_are_dropped(desk: Desk) -> None:
    before = dropped("no_stream")
    await desk.recorder.start()
    for stream in (str(uuid.uuid4()), "no stream at all\0"):
        await desk.broker.publish(Message(VISITS, Visit("a", 1.0, 1.0).encode(stream), "a", makes_queue=True))
    await desk.tell(1)
    await desk.recorder.stop(empty_queue=True)
    assert dropped("no_stream") - before == 1
    assert await desk.written() == 1
    assert (await desk.broker.depth(VISITS)).ready == 0


async def test_a_visit_that_the_database_refuses_does_not_keep_others_away(desk: Desk) -> None:
    async with desk.database.writing() as session:
        await session.execute(
            text("CREATE TRIGGER odd BEFORE INSERT ON visits WHEN NEW.view_ms = 6660 BEGIN SELECT RAISE(ABORT, 'odd'); END")
        )
    await desk.recorder.start()
    letters = Inbox()
    await desk.broker.consume(DEAD_LETTERS, 1, letters)
    await desk.tell(2)
    await desk.broker.publish(Message(VISITS, Visit("odd", 1.0, 6.66).encode(desk.stream), "odd", makes_queue=True))
    await desk.tell(2)
    await desk.recorder.stop(empty_queue=True)
    assert decode_visit((await letters.next()).body)[1].id == "odd"
    assert await desk.written() == 4


async def test_a_database_that_is_away_loses_nothing(desk: Desk) -> None:
    """Nothing is given back either: a message that is given back too often dies."""
    await desk.recorder.start()
    held = [Held(Visit(str(uuid.uuid4()), 1_700_000_000.0, 5.0).encode(desk.stream)) for _ in range(3)]
    with locked(desk):
        for one in held:
            desk.recorder.accept(one)
        for _ in range(2):  # each waits as long as the recorder does
            with pytest.raises(StoreAway):
                await desk.other_writer.write([(desk.stream, Visit(str(uuid.uuid4()), 1.0, 1.0))])
        assert {one.settled for one in held} == {None}

    async def all_settled() -> bool:
        return None not in {one.settled for one in held}

    await until(all_settled)
    await desk.recorder.stop()
    assert {one.settled for one in held} == {"acknowledged"}
    assert await desk.written() == 3


async def test_stopping_without_a_database_gives_everything_back(desk: Desk) -> None:
    await desk.recorder.start()
    held = [Held(Visit(str(uuid.uuid4()), 1_700_000_000.0, 5.0).encode(desk.stream)) for _ in range(10)]
    with locked(desk):
        for one in held:
            desk.recorder.accept(one)
        await desk.recorder.stop()
    assert {one.settled for one in held} == {"given back"}
    assert await desk.written() == 0


async def test_what_is_too_old_is_forgotten_at_the_start(desk: Desk) -> None:
    now = time.time()
    await desk.other_writer.prepare()
    told = [Visit(str(uuid.uuid4()), now - days * 86_400, 5.0, closed=True) for days in (0.5, 1.5, 400)]
    await desk.other_writer.write([(desk.stream, one) for one in told])
    forgetting = Recorder(desk.settings.model_copy(update={"visit_days": 1}), desk.broker, Visits(desk.database, 50.0))
    await forgetting.start()

    async def one_is_left() -> bool:
        return await desk.written() == 1

    await until(one_is_left)
    await forgetting.stop()
