"""Which services can be had, as the broker's consumers come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from gateway.jobs import availability
from gateway.jobs.availability import Availability
from shared.adapters.memory.broker import open_broker
from shared.errors import BrokerAway, ModelMissing, NoWorker
from shared.facts import Observation
from shared.ports import Broker, Consumer, Delivery, Depth, Message
from shared.settings import Settings
from tests.fakes import MISBEHAVING
from workers.catalog import ServiceType, load_catalog

GRACE = 10.0
CATALOG = load_catalog(MISBEHAVING)
SERVICE: ServiceType = CATALOG["misbehaver", 1]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Absences:
    """A broker that is away when a test says so, and counts the questions about queues."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.away = False
        self.asked = 0

    async def depth(self, queue: str) -> Depth:
        self.asked += 1
        await self.ping()
        return await self.broker.depth(queue)

    async def observe(self, queues: Sequence[str]) -> Observation:
        return await self.broker.observe(queues)

    async def ping(self) -> None:
        if self.away:
            raise BrokerAway

    async def publish(self, message: Message) -> None:
        await self.broker.publish(message)

    async def consume(self, queue: str, prefetch: int, handle: Callable[[Delivery], None]) -> Consumer:
        return await self.broker.consume(queue, prefetch, handle)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(availability, "time", clock)
    return clock


@pytest.fixture
async def broker() -> AsyncIterator[Absences]:
    async with open_broker(Settings()) as opened:
        yield Absences(opened)


async def serve(broker: Broker) -> Consumer:
    return await broker.consume("misbehaver", 1, lambda delivery: None)


async def test_nobody_serves(broker: Absences) -> None:
    known = Availability(broker, CATALOG, GRACE)
    assert isinstance(known.fault(SERVICE), NoWorker)
    with pytest.raises(NoWorker, match="sensorium worker misbehaver"):
        await known.require(SERVICE)


async def test_a_worker_that_came_a_moment_ago_is_found(broker: Absences, clock: Clock) -> None:
    known = Availability(broker, CATALOG, GRACE)
    await known.ask()
    await serve(broker)
    assert known.fault(SERVICE) is not None
    clock.now += 1
    await known.require(SERVICE)
    assert known.fault(SERVICE) is None


async def test_a_worker_that_came_while_the_broker_was_being_asked_is_found(broker: Absences, clock: Clock) -> None:
    known = Availability(broker, CATALOG, GRACE)
    await known.ask()  # told before the worker came, and ended only now
    clock.now += 0.01
    await serve(broker)
    await known.require(SERVICE)


async def test_many_requests_for_what_is_not_there_ask_once(broker: Absences, clock: Clock) -> None:
    known = Availability(broker, CATALOG, GRACE)
    answers = await asyncio.gather(*(known.require(SERVICE) for _ in range(100)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {NoWorker}
    assert broker.asked == len(CATALOG)
    clock.now += 1
    with pytest.raises(NoWorker):
        await known.require(SERVICE)
    assert broker.asked == 2 * len(CATALOG)


async def test_what_is_there_is_not_asked_for_again(broker: Absences) -> None:
    known = Availability(broker, CATALOG, GRACE)
    await serve(broker)
    await known.ask()
    asked = broker.asked
    for _ in range(100):
        await known.require(SERVICE)
    assert broker.asked == asked


async def test_a_service_outlives_its_last_worker_by_the_grace(broker: Absences, clock: Clock) -> None:
    known = Availability(broker, CATALOG, GRACE)
    worker = await serve(broker)
    await known.ask()
    await worker.stop()
    clock.now += GRACE
    await known.ask()
    assert known.fault(SERVICE) is None
    clock.now += 2 * GRACE
    await known.ask()
    assert isinstance(known.fault(SERVICE), NoWorker)
    await serve(broker)
    clock.now += 1
    await known.require(SERVICE)


async def test_nobody_is_missed_while_the_broker_is_away(broker: Absences, clock: Clock) -> None:
    known = Availability(broker, CATALOG, GRACE)
    worker = await serve(broker)
    await known.ask()
    broker.away = True
    clock.now += 1
    await known.ask()
    with pytest.raises(BrokerAway):
        await known.require(SERVICE)
    clock.now += 100 * GRACE
    await known.ask()
    await worker.stop()
    broker.away = False
    await known.ask()
    assert known.fault(SERVICE) is None  # it has the grace to come back in
    clock.now += 2 * GRACE
    await known.ask()
    assert isinstance(known.fault(SERVICE), NoWorker)


async def test_a_broker_that_came_back_is_found_by_the_next_request(broker: Absences, clock: Clock) -> None:
    known = Availability(broker, CATALOG, GRACE)
    await serve(broker)
    broker.away = True
    await known.ask()
    broker.away = False
    clock.now += 1
    await known.require(SERVICE)


async def test_what_this_process_could_not_load_is_told_first(broker: Absences) -> None:
    await serve(broker)
    known = Availability(broker, CATALOG, GRACE, {"misbehaver": ModelMissing("yunet is missing")})
    await known.ask()
    with pytest.raises(ModelMissing, match="yunet"):
        await known.require(SERVICE)


async def test_waiting_jobs_are_counted(broker: Absences) -> None:
    known = Availability(broker, CATALOG, GRACE)
    worker = await serve(broker)
    await worker.stop()
    assert known.waiting(SERVICE) == 0
    for number in range(3):
        await broker.publish(Message("misbehaver", b"", str(number)))
    await known.ask()
    assert known.waiting(SERVICE) == 3


async def test_each_version_has_its_own_workers(broker: Absences) -> None:
    later = type("Later", (SERVICE,), {"version": 2})
    known = Availability(broker, {**CATALOG, ("misbehaver", 2): later}, GRACE)
    await serve(broker)
    await known.ask()
    assert known.fault(SERVICE) is None
    assert isinstance(known.fault(later), NoWorker)


async def test_how_long_messages_have_had_no_worker(broker: Absences, clock: Clock) -> None:
    known = Availability(broker, CATALOG, GRACE)
    worker = await serve(broker)
    await known.ask()
    await worker.stop()
    await broker.publish(Message("misbehaver", b"m", "1"))
    await known.ask()
    clock.now += 5
    assert known.unserved("misbehaver") == 5
    await known.ask()
    assert known.unserved("misbehaver") == 5
    await serve(broker)
    await known.ask()
    assert known.unserved("misbehaver") == 0
