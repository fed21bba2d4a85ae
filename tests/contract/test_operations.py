"""What operators see: the same from every adapter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from shared.adapters.memory import broker as memory_broker
from shared.adapters.rabbitmq import broker as rabbitmq
from shared.errors import Cancelled, NotFound, NotRequeueable
from shared.events import Chunk, Done, Failed, Requeued, Started
from shared.facts import DeadLetter, QueueFacts, ServedFacts, WorkerFacts
from shared.jobs import Turn, session_key
from shared.ports import Broker, Entry, Message
from shared.settings import Settings
from tests.contract.brokers import SOON_S, Inbox, remove, until
from tests.contract.stores import OpenPair, Pair, done, job_id, open_pair, pair, started
from tests.servers import RabbitMQ, ServerAbsent, start_rabbitmq

__all__ = ["open_pair", "pair"]  # pytest finds fixtures by name

# Queues


@pytest.fixture(scope="module")
def managed_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A broker with its management API."""
    try:
        server = start_rabbitmq(tmp_path_factory.mktemp("managed-rabbitmq"), management=True)
    except ServerAbsent as error:
        pytest.skip(f"server absent: {error}")
    with server:
        yield server


@pytest.fixture(params=["memory", "rabbitmq", "management"])
async def watched(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[tuple[str, Broker]]:
    if request.param == "memory":
        async with memory_broker.open_broker(Settings()) as broker:
            yield request.param, broker
        return
    server = request.getfixturevalue("managed_rabbitmq" if request.param == "management" else "rabbitmq_server")
    management = server.management_url if request.param == "management" else None
    settings = Settings(broker=server.url, namespace=namespace, publish_seconds=10, broker_management=management, management_seconds=10)
    async with rabbitmq.open_broker(settings) as broker:
        yield request.param, broker
    await remove(server.url, namespace)


async def facts_of(broker: Broker, queue: str = "service") -> QueueFacts:
    return (await broker.observe([queue])).queues[queue]


async def test_a_queue_that_does_not_exist_is_left_out(watched: tuple[str, Broker]) -> None:
    _, broker = watched
    await broker.consume("service", 1, Inbox())
    assert list((await broker.observe(["absent", "service", "nowhere"])).queues) == ["service"]


async def test_what_waits_and_who_would_take_it(watched: tuple[str, Broker]) -> None:
    _, broker = watched
    consumer = await broker.consume("service", 1, Inbox())
    assert (await facts_of(broker)).consumers == 1
    await consumer.stop()
    for number in range(3):
        await broker.publish(Message("service", b"m", str(number)))
    facts = await facts_of(broker)
    assert (facts.ready, facts.consumers) == (3, 0)


async def test_what_is_in_hand(watched: tuple[str, Broker]) -> None:
    form, broker = watched
    inbox = Inbox()
    await broker.consume("service", 2, inbox)
    for number in range(5):
        await broker.publish(Message("service", b"m", str(number)))
    held = await inbox.take(2)

    async def told(count: int) -> bool:
        return (await facts_of(broker)).unacknowledged == count

    if form == "rabbitmq":
        observation = await broker.observe(["service"])
        assert observation.queues["service"] == QueueFacts(ready=3, consumers=1)
        assert "SENSORIUM_BROKER_MANAGEMENT" in (observation.gap or "")
        return
    await until(lambda: told(2))
    assert (await broker.observe(["service"])).gap is None
    for delivery in held:
        delivery.ack()
    held = await inbox.take(2)
    held.pop().ack()
    held += await inbox.take(1)
    await until(lambda: told(2))
    for delivery in held:
        delivery.ack()
    await until(lambda: told(0))


async def test_how_fast_messages_flow(watched: tuple[str, Broker]) -> None:
    form, broker = watched
    await broker.consume("service", 100, lambda delivery: delivery.ack())
    if form == "rabbitmq":
        assert (await facts_of(broker)).published_rate is None
        return

    async def flows() -> bool:
        for number in range(10):
            await broker.publish(Message("service", b"m", f"{time.monotonic_ns()}-{number}"))
        facts = await facts_of(broker)
        return (facts.published_rate or 0) > 1 and (facts.delivered_rate or 0) > 1

    await until(flows)


async def test_the_memory_knows_the_age_of_its_oldest_message() -> None:
    async with memory_broker.open_broker(Settings()) as broker:
        inbox = Inbox()
        consumer = await broker.consume("service", 1, inbox)
        assert (await facts_of(broker)).oldest_seconds == 0.0
        for number in range(2):
            await broker.publish(Message("service", b"m", str(number)))
        first = await inbox.next()
        await asyncio.sleep(0.1)
        await broker.publish(Message("service", b"m", "late"))
        assert 0.1 <= ((await facts_of(broker)).oldest_seconds or 0) < 5
        await consumer.stop()
        assert (await facts_of(broker)).unacknowledged == 1  # a consumer that stopped still holds what it has
        first.ack()
        assert 0.1 <= ((await facts_of(broker)).oldest_seconds or 0) < 5  # the one that waits behind it came as early


@pytest.mark.parametrize(
    ("address", "words"),
    [("http://127.0.0.1:9", "127.0.0.1:9 cannot be asked"), ("http://nobody:x@HOST", "401 Unauthorized; its user needs")],
)
async def test_a_management_api_that_does_not_answer_takes_nothing_else_away(
    managed_rabbitmq: RabbitMQ, namespace: str, address: str, words: str
) -> None:
    address = address.replace("HOST", managed_rabbitmq.management_url.rpartition("@")[2])
    settings = Settings(broker=managed_rabbitmq.url, namespace=namespace, publish_seconds=10, broker_management=address)
    async with rabbitmq.open_broker(settings) as broker:
        await broker.consume("service", 1, Inbox())
        observation = await broker.observe(["service"])
    assert observation.queues == {"service": QueueFacts(ready=0, consumers=1)}
    assert words in (observation.gap or "")
    await remove(managed_rabbitmq.url, namespace)


# Workers


def worker(name: str = "w1", started_at: float = 1.0, **changes: object) -> WorkerFacts:
    served = ServedFacts("dummy", 1, "dummy", ("yunet",), batch=4, busy=0.5, done=7, taken=9, in_hand=2, oldest=3.0)
    facts = WorkerFacts(name, "host", 12, "0.1", "cpu", 2, started_at, time.time(), (served,))
    return replace(facts, **changes)  # type: ignore[arg-type]


async def test_a_worker_is_listed_as_it_last_spoke(pair: Pair) -> None:
    await pair.worker.workers.announce(worker(device="cpu"))
    await pair.worker.workers.announce(last := worker(device="cuda"))
    assert await pair.gateway.workers.workers() == [last]


async def test_workers_are_listed_by_their_start(pair: Pair) -> None:
    young, old = worker("a", 2.0), worker("b", 1.0)
    for each in (young, old):
        await pair.worker.workers.announce(each)
    assert await pair.gateway.workers.workers() == [old, young]


async def test_a_worker_that_ends_is_gone(pair: Pair) -> None:
    for name in ("a", "b"):
        await pair.worker.workers.announce(worker(name))
    await pair.worker.workers.withdraw("a")
    assert [each.id for each in await pair.gateway.workers.workers()] == ["b"]


async def test_a_worker_that_falls_silent_is_gone_and_one_that_speaks_is_not(open_pair: OpenPair) -> None:
    async with open_pair(announced_seconds=0.5) as pair:
        await pair.worker.workers.announce(worker("silent"))

        async def silent_is_gone() -> bool:
            await pair.worker.workers.announce(worker("speaking"))
            names = [each.id for each in await pair.gateway.workers.workers()]
            assert "speaking" in names
            return "silent" not in names

        await until(silent_is_gone)


# Sessions


async def test_sessions_are_counted_by_service_until_they_are_closed(pair: Pair) -> None:
    sessions, census = pair.gateway.sessions, pair.gateway.census
    assert await census.alive() == {}
    names = [session_key("t", service, version, str(n)) for service, version, n in (("a", 1, 1), ("a", 1, 2), ("a", 2, 1), ("b", 1, 1))]
    for name in names:
        await sessions.number(name)
    assert await census.alive() == {("a", 1): 2, ("a", 2): 1, ("b", 1): 1}
    for number, closing in ((1, False), (2, True)):
        await sessions.save(Turn(names[0], number, closing), await sessions.load(names[0]), b"state", None)
    assert await census.alive() == {("a", 1): 1, ("a", 2): 1, ("b", 1): 1}


async def test_many_sessions_are_counted(pair: Pair) -> None:
    await asyncio.gather(*(pair.gateway.sessions.number(session_key("t", "a", 1, f"{n}")) for n in range(2500)))
    assert await pair.gateway.census.alive() == {("a", 1): 2500}


# Dead letters


def letter(job: str, **changes: object) -> DeadLetter:
    made = DeadLetter(job, "job", "rejected", time.time(), "dummy", "dummy", 1, "tenant", attempts=3, size=4)
    return replace(made, **changes)  # type: ignore[arg-type]


def failed(job: str, code: str = "service_failed") -> Entry:
    return Entry(job, Failed(time.time(), code, "no"))


async def test_letters_are_listed_the_latest_first_in_pages(pair: Pair) -> None:
    letters = pair.gateway.letters
    assert await letters.letters(0, 10) == (0, [])
    kept = [letter(job_id()) for _ in range(5)]
    for each in kept:
        await letters.keep(each, b"body")
        await asyncio.sleep(0.002)  # the order is by the store's clock, in milliseconds
    assert await letters.letters(0, 10) == (5, [(each, True) for each in reversed(kept)])
    assert await letters.letters(1, 2) == (5, [(each, True) for each in (kept[3], kept[2])])
    assert await letters.letters(5, 2) == (5, [])
    assert await letters.letters(0, 0) == (5, [])


async def test_a_letter_kept_again_is_one_and_keeps_its_message(pair: Pair) -> None:
    letters, job = pair.gateway.letters, job_id()
    await letters.keep(letter(job), b"body")
    await letters.keep(last := letter(job, reason="expired"), None)
    assert await letters.letters(0, 10) == (1, [(last, True)])
    assert await letters.reopen(job, Requeued(1.0)) == (last, b"body")


async def test_a_letter_that_is_listed_can_be_reopened_at_once(pair: Pair) -> None:
    letters, body = pair.gateway.letters, bytes(16 * 2**20)  # long under way
    for job in (job_id(), job_id(), job_id()):
        keeping = asyncio.create_task(letters.keep(kept := letter(job), body))
        async with asyncio.timeout(SOON_S):
            while (kept, True) not in (await letters.letters(0, 10))[1]:
                await asyncio.sleep(0)
        assert await letters.reopen(job, Requeued(1.0)) == (kept, body)
        await keeping


async def test_a_deleted_letter_is_gone_with_its_message(pair: Pair) -> None:
    letters, job = pair.gateway.letters, job_id()
    await letters.keep(letter(job), b"body")
    assert await letters.delete(job)
    assert not await letters.delete(job)
    assert await letters.letters(0, 10) == (0, [])
    with pytest.raises(NotFound):
        await letters.reopen(job, Requeued(1.0))


async def test_so_many_letters_are_kept(open_pair: OpenPair) -> None:
    async with open_pair(dead_letters=3) as pair:
        names = [job_id() for _ in range(5)]
        for name in names:
            await pair.gateway.letters.keep(letter(name), b"body")
            await asyncio.sleep(0.002)
        total, listed = await pair.gateway.letters.letters(0, 10)
        assert total == 3
        assert [each.id for each, _ in listed] == names[:1:-1]


async def test_so_many_bytes_of_messages_are_kept(open_pair: OpenPair) -> None:
    async with open_pair(dead_letter_bytes=100) as pair:
        letters, names = pair.gateway.letters, [job_id() for _ in range(4)]
        for name, size in zip(names, (40, 40, 50, 101), strict=True):
            await letters.keep(letter(name), b"x" * size)
            await asyncio.sleep(0.002)
        _, listed = await letters.letters(0, 10)
        assert [kept for _, kept in listed] == [False, True, True, False]
        await letters.delete(names[2])
        await letters.keep(letter(names[0]), b"x" * 60)  # what was deleted gives its room back
        _, listed = await letters.letters(0, 10)
        assert {each.id: kept for each, kept in listed} == {names[0]: True, names[1]: True, names[3]: False}
        with pytest.raises(NotRequeueable, match="no longer kept"):
            await letters.reopen(names[3], Requeued(1.0))


async def test_a_message_ends_before_its_letter_and_both_end(open_pair: OpenPair) -> None:
    async with open_pair(dead_letter_input_seconds=0.3, dead_letter_seconds=1.5) as pair:
        letters, job = pair.gateway.letters, job_id()
        await letters.keep(letter(job), b"body")

        async def listed() -> list[bool]:
            return [kept for _, kept in (await letters.letters(0, 1))[1]]

        assert await listed() == [True]

        async def without_message() -> bool:
            return await listed() == [False]

        async def gone() -> bool:
            return await listed() == []

        await until(without_message)
        with pytest.raises(NotRequeueable):
            await letters.reopen(job, Requeued(1.0))
        await until(gone)


async def test_no_input_is_kept_where_none_may_be(open_pair: OpenPair) -> None:
    async with open_pair(dead_letter_input_seconds=0) as pair:
        await pair.gateway.letters.keep(kept := letter(job_id()), b"body")
        assert await pair.gateway.letters.letters(0, 1) == (1, [(kept, False)])


async def test_reopening_puts_the_failure_aside_and_forgets_the_attempts(pair: Pair) -> None:
    letters, results, job = pair.gateway.letters, pair.gateway.results, job_id()
    await results.append([started(job)])
    await results.append([failed(job)])
    await results.count_attempt(job, 3)
    await letters.keep(kept := letter(job), b"body")
    assert await letters.reopen(job, Requeued(5.0)) == (kept, b"body")
    assert [type(event) for event in await results.events(job)] == [Started, Requeued]
    assert await results.finished([job]) == [False]
    assert await results.count_attempt(job) == 1
    assert await letters.letters(0, 1) == (1, [(kept, True)])  # until it is safe in its queue
    assert await pair.worker.results.append([done(job)]) == [True]
    assert await pair.worker.results.append([done(job, 2)]) == [False]
    assert [type(event) for event in await results.events(job)] == [Started, Requeued, Done]


async def test_who_follows_a_reopened_job_hears_its_new_end(pair: Pair) -> None:
    letters, results, job = pair.gateway.letters, pair.gateway.results, job_id()
    await results.append([failed(job)])
    await letters.keep(letter(job), b"body")
    await letters.reopen(job, Requeued(5.0))
    async with asyncio.timeout(SOON_S), results.follow(job) as events:
        assert await anext(events) == (0, Requeued(5.0))
        await pair.worker.results.append([Entry(job, Chunk(6.0, {})), done(job)])
        assert [type(event) async for _, event in events] == [Chunk, Done]


async def test_a_job_whose_events_are_gone_can_be_reopened(pair: Pair) -> None:
    job = job_id()
    await pair.gateway.letters.keep(letter(job), b"body")
    await pair.gateway.letters.reopen(job, Requeued(5.0))
    assert await pair.gateway.results.events(job) == [Requeued(5.0)]


@pytest.mark.parametrize("end", ["done", "cancelled"])
async def test_what_was_done_or_cancelled_stays_so(pair: Pair, end: str) -> None:
    letters, results, job = pair.gateway.letters, pair.gateway.results, job_id()
    await results.append([done(job) if end == "done" else failed(job, Cancelled.code)])
    before = await results.events(job)
    await letters.keep(letter(job), b"body")
    with pytest.raises(NotRequeueable, match="done after all" if end == "done" else "cancelled"):
        await letters.reopen(job, Requeued(5.0))
    assert await results.events(job) == before


async def test_an_obstacle_is_told(pair: Pair) -> None:
    job = job_id()
    await pair.gateway.letters.keep(letter(job, obstacle="it is a frame"), b"body")
    with pytest.raises(NotRequeueable, match="it is a frame"):
        await pair.gateway.letters.reopen(job, Requeued(5.0))


async def test_what_is_no_job_has_no_events(pair: Pair) -> None:
    visit = letter("visit-1", kind="visit")
    await pair.gateway.letters.keep(visit, b"body")
    assert await pair.gateway.letters.reopen("visit-1", Requeued(5.0)) == (visit, b"body")
    assert await pair.gateway.results.events("visit-1") == []
