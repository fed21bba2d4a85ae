"""What gateways do beside answering: dead jobs get their failure, silent sessions their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gateway.jobs.background import DeadLetterKeeper, SessionKeeper, closing_message
from shared.adapters.memory.broker import MemoryServer, open_broker
from shared.adapters.memory.store import open_stores
from shared.errors import StoreAway
from shared.events import Done, Event, Failed
from shared.jobs import Job, Turn, blob_place, decode_job, job_files_of, owner_of, session_key
from shared.ports import DEAD_LETTERS, Broker, Delivery, Entry, Message, Snapshot, Stores
from shared.settings import Settings
from tests.fakes import IDS, TENANT, make_job

SESSION = session_key(TENANT, "misbehaver", 1, "s")
QUEUE = "misbehaver"
SOON_S = 10.0


@dataclass
class House:
    """A broker with the queue of one service, and stores."""

    settings: Settings
    broker: Broker
    stores: Stores

    async def die(self, body: bytes, job_id: str = "id", expires_in: float | None = None) -> None:
        """Publish a message that nobody takes, or that a worker refuses."""
        worker = await self.broker.consume(QUEUE, 100, lambda delivery: delivery.reject(requeue=False))
        if expires_in is not None:
            await worker.stop()
        await self.broker.publish(Message(QUEUE, body, job_id, expires_in))

    async def end_of(self, job: Job) -> Event:
        async with asyncio.timeout(SOON_S), self.stores.results.follow(job.id) as events:
            return [event async for _, event in events][-1]

    async def no_letters(self) -> bool:
        return (await self.broker.depth(DEAD_LETTERS)).ready == 0


class Away:
    """A store whose named method fails so many times before it works."""

    def __init__(self, store: Any, method: str, times: int) -> None:
        self._store, self._method, self.left = store, method, times

    def __getattr__(self, name: str) -> Any:
        if name != self._method or self.left <= 0:
            return getattr(self._store, name)
        self.left -= 1
        raise StoreAway


@pytest.fixture
async def house() -> AsyncIterator[House]:
    settings = Settings(session_seconds=0.1, closing_lease_seconds=0.5, retry_pause_seconds=0.01)
    server = MemoryServer()
    server.declare(QUEUE)
    async with open_broker(settings, server) as broker, open_stores(settings, IDS.shard) as stores:
        yield House(settings, broker, stores)


@asynccontextmanager
async def burying(house: House, stores: Stores | None = None) -> AsyncIterator[DeadLetterKeeper]:
    keeper = DeadLetterKeeper(house.settings, house.broker, stores or house.stores)
    await keeper.start()
    try:
        yield keeper
    finally:
        await keeper.stop()


@asynccontextmanager
async def closing(house: House, stores: Stores | None = None, keepers: int = 1) -> AsyncIterator[None]:
    """So many gateways look after silent sessions."""
    tasks = [
        asyncio.create_task(SessionKeeper(house.settings, house.broker, stores or house.stores, IDS).keep_closing(0.01))
        for _ in range(keepers)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended: Sequence[BaseException | None] = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(error) for error in ended} == {asyncio.CancelledError}


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON_S):
        while not await check():
            await asyncio.sleep(0.01)


# Dead letters


async def test_a_job_that_was_given_up_fails(house: House) -> None:
    job = make_job()
    async with burying(house):
        await house.die(job.encode())
        event = await house.end_of(job)
    assert isinstance(event, Failed)
    assert event.code == "service_failed"
    assert await house.no_letters()


async def test_a_job_that_expired_was_too_late(house: House) -> None:
    job = make_job()
    async with burying(house):
        await house.die(job.encode(), expires_in=0.01)
        event = await house.end_of(job)
    assert isinstance(event, Failed)
    assert event.code == "deadline_exceeded"


async def test_a_job_given_up_after_its_deadline_was_too_late(house: House) -> None:
    job = make_job(lasts=-1.0)
    async with burying(house):
        await house.die(job.encode())
        event = await house.end_of(job)
    assert isinstance(event, Failed)
    assert event.code == "deadline_exceeded"


async def test_letters_that_came_before_the_keeper_are_read(house: House) -> None:
    jobs = [make_job() for _ in range(40)]
    for job in jobs:
        await house.die(job.encode())
    async with burying(house):
        for job in jobs:
            assert isinstance(await house.end_of(job), Failed)


async def test_what_is_no_job_is_put_away(house: House) -> None:
    job = make_job()
    async with burying(house):
        await house.die(b"not a job")
        await house.die(job.encode())
        await house.end_of(job)
    assert await house.no_letters()


async def test_a_result_that_is_there_stands(house: House) -> None:
    job = make_job()
    await house.stores.results.append([Entry(job.id, Done(1.0, {"mark": "m"}))])
    async with burying(house):
        await house.die(job.encode())
        await house.die((behind := make_job()).encode())
        await house.end_of(behind)
    assert await house.stores.results.events(job.id) == [Done(1.0, {"mark": "m"})]


async def test_a_session_goes_on_without_its_dead_frame(house: House) -> None:
    first, second = [Turn(SESSION, await house.stores.sessions.number(SESSION)) for _ in range(2)]
    job = make_job(turn=first)
    async with burying(house), asyncio.timeout(SOON_S):
        await house.die(job.encode())
        await house.stores.sessions.advanced(SESSION, first.number)
    snapshot = await house.stores.sessions.load(SESSION)
    assert (snapshot.finished, snapshot.skipped, snapshot.numbered) == (first.number, 1, second.number)
    assert isinstance(await house.end_of(job), Failed)


async def test_a_dead_jobs_own_files_end_with_it_and_no_others(house: House) -> None:
    blobs = house.stores.blobs
    shared, own = await blobs.put(TENANT, b"shared"), job_files_of(await blobs.put(job_files_of(TENANT), b"own"))
    job = replace(make_job(), blobs={"attachment://own": own, "/blobs/shared": shared})
    async with burying(house):
        await house.die(job.encode())
        await house.end_of(job)
    assert await blobs.get(*blob_place(TENANT, own)) is None
    assert await blobs.get(TENANT, shared) == b"shared"


@pytest.mark.parametrize("with_turn", [False, True])
async def test_a_letter_waits_for_the_store(house: House, with_turn: bool) -> None:
    job = make_job(turn=Turn(SESSION, await house.stores.sessions.number(SESSION)) if with_turn else None)
    results, sessions = Away(house.stores.results, "append", 3), Away(house.stores.sessions, "save", 3)
    async with burying(house, replace(house.stores, results=results, sessions=sessions)):
        await house.die(job.encode())
        assert isinstance(await house.end_of(job), Failed)
    assert (sessions if with_turn else results).left == 0
    assert await house.no_letters()


async def test_a_keeper_that_stopped_leaves_letters_to_others(house: House) -> None:
    async with burying(house):
        pass
    await house.die(make_job().encode())
    await until(lambda: has_letters(house, 1))


async def has_letters(house: House, count: int) -> bool:
    return (await house.broker.depth(DEAD_LETTERS)).ready == count


# Silent sessions


async def apply_frame(house: House) -> int:
    """A frame of the session, numbered and applied; returns its number."""
    turn = Turn(SESSION, await house.stores.sessions.number(SESSION))
    assert await house.stores.sessions.save(turn, await house.stores.sessions.load(SESSION), b"state", None)
    return turn.number


async def closings(house: House) -> asyncio.Queue[Delivery]:
    """What arrives at the service."""
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    await house.broker.consume(QUEUE, 10, arrived.put_nowait)
    return arrived


async def take(arrived: asyncio.Queue[Delivery]) -> Job:
    delivery = await asyncio.wait_for(arrived.get(), SOON_S)
    delivery.ack()
    return decode_job(delivery.body)


async def test_a_silent_session_is_closed_by_an_ordinary_job(house: House) -> None:
    arrived = await closings(house)
    number = await apply_frame(house)
    async with closing(house):
        job = await take(arrived)
    assert job.turn == Turn(SESSION, number + 1, closing=True)
    assert (job.service, job.version, job.tenant) == ("misbehaver", 1, TENANT)
    assert job.deadline - job.created == pytest.approx(house.settings.closing_seconds)
    assert IDS.read(job.id, owner_of(TENANT, "misbehaver", 1)) is not None


async def test_several_gateways_close_it_once(house: House) -> None:
    arrived = await closings(house)
    await apply_frame(house)
    async with closing(house, keepers=5):
        job = await take(arrived)
        assert job.turn is not None
        assert await house.stores.sessions.save(job.turn, await house.stores.sessions.load(SESSION), None, None)
        await asyncio.sleep(2 * house.settings.closing_lease_seconds)  # the time in which another would come
    assert arrived.empty()


async def test_a_session_that_speaks_is_left_open(house: House) -> None:
    arrived = await closings(house)
    settings = Settings(session_seconds=0.8)
    async with open_stores(settings, IDS.shard) as stores:
        patient = replace(house, stores=stores)
        async with closing(patient):
            for _ in range(10):
                await apply_frame(patient)
                await asyncio.sleep(settings.session_seconds / 8)
            assert arrived.empty()
            assert (await take(arrived)).turn == Turn(SESSION, 11, closing=True)


async def test_a_closing_that_got_lost_is_sent_again_with_its_number(house: House) -> None:
    arrived = await closings(house)
    number = await apply_frame(house)
    async with closing(house):
        turns = [(await take(arrived)).turn for _ in range(2)]
    assert turns == [Turn(SESSION, number + 1, closing=True)] * 2


async def test_a_closing_that_went_round_too_often_is_sent_again(house: House) -> None:
    """Workers without a store give every message back, and after a hundred times the broker has enough of it."""
    number = await apply_frame(house)
    turns: list[Turn] = []

    async def is_silent() -> bool:
        turns.extend(await house.stores.sessions.expired())
        return bool(turns)

    await until(is_silent)
    worker = await house.broker.consume(QUEUE, 1, lambda delivery: delivery.reject(requeue=True))
    await house.broker.publish(closing_message(IDS, turns[0], house.settings))
    await until(lambda: has_letters(house, 1))
    await worker.stop()
    async with burying(house):
        await until(house.no_letters)
    assert await house.stores.sessions.load(SESSION) == Snapshot(b"state", number, number + 1)
    arrived = await closings(house)
    async with closing(house):
        assert (await take(arrived)).turn == turns[0]


async def test_a_closing_that_could_not_be_sent_is_sent_later(house: House) -> None:
    async with open_broker(house.settings) as without_queues:
        elsewhere = replace(house, broker=without_queues)
        number = await apply_frame(house)
        async with closing(elsewhere):
            await asyncio.sleep(2 * house.settings.session_seconds)
            arrived = await closings(elsewhere)
            assert (await take(arrived)).turn == Turn(SESSION, number + 1, closing=True)


async def test_a_store_that_is_away_is_asked_again(house: House) -> None:
    arrived = await closings(house)
    await apply_frame(house)
    sessions = Away(house.stores.sessions, "expired", 3)
    async with closing(house, replace(house.stores, sessions=sessions)):
        await take(arrived)
    assert sessions.left == 0


def test_closings_that_no_worker_takes_do_not_stay_in_the_queue() -> None:
    """One is sent at each lease for as long as the session is kept: all of them together would fill the queue."""
    settings = Settings(deadline_seconds=100, closing_seconds=7 * 86400)
    message = closing_message(IDS, Turn(SESSION, 1, closing=True), settings)
    assert message.expires_in is not None
    assert message.expires_in < 200
    assert decode_job(message.body).deadline - time.time() > 6 * 86400
