"""A job that died, from its queue to an operator and back, over the in-process adapters and over the servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.jobs.background import DeadLetterKeeper
from shared.dead_letters import OF_A_SESSION, UNREADABLE, DeadLetters
from shared.errors import Cancelled, NotFound, NotRequeueable, Unavailable
from shared.events import Done, Event, Failed, Requeued
from shared.facts import DeadLetter
from shared.jobs import Job, Turn, blob_place, decode_job, job_files_of, session_key
from shared.ports import DEAD_LETTERS, Delivery, Entry, Message
from shared.reopening import NOT_KEPT, WAS_CANCELLED
from shared.visits import VISITS, Visit
from tests.contract import brokers, stores
from tests.contract.brokers import until
from tests.fakes import TENANT, Bench, make_job, open_bench

QUEUE = "misbehaver"
SOON_S = 20.0


@pytest.fixture(params=["memory", "servers"])
async def bench(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Bench]:
    quick = {"retry_pause_seconds": 0.05, "inline_bytes": 50}
    if request.param == "memory":
        async with open_bench(**quick) as opened:
            yield opened
        return
    broker, store = (request.getfixturevalue(name).url for name in ("rabbitmq_server", "redis_server"))
    async with open_bench(broker=broker, store=store, namespace=namespace, publish_seconds=10, **quick) as opened:
        yield opened
    await brokers.remove(broker, namespace, (QUEUE, VISITS, DEAD_LETTERS))
    await stores.remove(store, namespace)


@asynccontextmanager
async def keeping(bench: Bench) -> AsyncIterator[DeadLetters]:
    keeper = DeadLetterKeeper(bench.settings, bench.broker, bench.stores)
    await keeper.start()
    try:
        yield DeadLetters(bench.settings, bench.broker, bench.stores)
    finally:
        await keeper.stop()


async def die(bench: Bench, body: bytes, job_id: str, queue: str = QUEUE) -> None:
    """A message that its worker refuses."""
    worker = await bench.broker.consume(queue, 1, lambda delivery: delivery.reject(requeue=False))
    await bench.broker.publish(Message(queue, body, job_id))

    async def taken() -> bool:
        return (await bench.broker.depth(queue)).ready == 0

    await until(taken)
    await worker.stop()


async def letter_of(letters: DeadLetters, letter_id: str | None = None) -> tuple[DeadLetter, str | None]:
    """The letter, once it is kept, and what is in the way of putting it back."""
    found: list[tuple[DeadLetter, str | None]] = []

    async def is_kept() -> bool:
        found[:] = [pair for pair in (await letters.listed(0, 10))[1] if letter_id in (None, pair[0].id)]
        return bool(found)

    await until(is_kept)
    return found[0]


async def end_of(bench: Bench, job: Job) -> Event:
    return await bench.final(job.id, SOON_S)


async def test_a_job_that_died_is_listed_and_done_when_it_is_put_back(bench: Bench) -> None:
    job = make_job(mark="precious")
    async with keeping(bench) as letters:
        begin = time.time()
        await die(bench, job.encode(), job.id)
        assert isinstance(await end_of(bench, job), Failed)
        letter, obstacle = await letter_of(letters)
        assert (letter.id, letter.kind, letter.reason, letter.service, letter.version) == (job.id, "job", "rejected", QUEUE, 1)
        assert (letter.tenant, letter.queue, letter.attempts, obstacle) == (TENANT, QUEUE, 0, None)
        assert begin - 1 <= letter.died <= time.time() + 1
        assert "precious" not in repr(letter)
        await bench.start_runner()
        assert (await letters.requeue(job.id)).id == job.id
        event = await end_of(bench, job)
        assert isinstance(event, Done)
        assert event.result["mark"] == "precious"
        assert (await letters.listed(0, 10))[0] == 0
    assert [type(each) for each in await bench.stores.results.events(job.id)] == [Requeued, Done]


async def test_the_attempts_of_a_job_that_is_put_back_begin_anew(bench: Bench) -> None:
    job = make_job()
    async with keeping(bench) as letters:
        await bench.stores.results.count_attempt(job.id, 3)
        await die(bench, job.encode(), job.id)
        letter, _ = await letter_of(letters)
        assert letter.attempts == 3
        await letters.requeue(job.id)
    assert await bench.stores.results.count_attempt(job.id) == 1


async def test_a_job_that_is_put_back_has_a_new_deadline(bench: Bench) -> None:
    job = make_job(lasts=-100.0)
    async with keeping(bench) as letters:
        await die(bench, job.encode(), job.id)
        event = await end_of(bench, job)
        assert isinstance(event, Failed)
        assert event.code == "deadline_exceeded"
        await letter_of(letters)
        await letters.requeue(job.id)
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    await bench.broker.consume(QUEUE, 1, arrived.put_nowait)
    delivery = await asyncio.wait_for(arrived.get(), SOON_S)
    delivery.ack()
    again = decode_job(delivery.body)
    assert again.deadline - time.time() == pytest.approx(bench.settings.deadline_seconds, abs=5)
    assert (again.id, again.parameters, again.tenant) == (job.id, job.parameters, job.tenant)


async def test_it_can_die_and_be_put_back_again(bench: Bench) -> None:
    job = make_job()
    async with keeping(bench) as letters:
        await die(bench, job.encode(), job.id)
        for _ in range(2):
            await letter_of(letters)
            worker = await bench.broker.consume(QUEUE, 1, lambda delivery: delivery.reject(requeue=False))
            await letters.requeue(job.id)

            async def failed_again() -> bool:
                return (await bench.stores.results.finished([job.id]))[0]

            await until(failed_again)
            await worker.stop()
    kinds = [type(event) for event in await bench.stores.results.events(job.id)]
    assert kinds == [Requeued, Requeued, Failed]


async def test_files_beside_the_message_come_back_and_end_with_the_job(bench: Bench) -> None:
    blobs = bench.stores.blobs
    large, small = b"x" * 100, b"y" * 10
    own = job_files_of(await blobs.put(job_files_of(TENANT), large))
    shared = await blobs.put(TENANT, b"shared")
    job = replace(make_job(), files={"attachment://s": small}, blobs={"attachment://l": own, "/blobs/x": shared})
    async with keeping(bench) as letters:
        await die(bench, job.encode(), job.id)
        letter, _ = await letter_of(letters)
        assert letter.size > 110

        async def file_is_gone() -> bool:
            return await blobs.get(*blob_place(TENANT, own)) is None

        await until(file_is_gone)
        await letters.requeue(job.id)
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    taker = await bench.broker.consume(QUEUE, 1, arrived.put_nowait)
    delivery = await asyncio.wait_for(arrived.get(), SOON_S)
    again = decode_job(delivery.body)
    assert again.files == {"attachment://s": small}
    assert again.blobs["/blobs/x"] == shared
    assert await blobs.get(*blob_place(TENANT, again.blobs["attachment://l"])) == large
    delivery.ack()
    await taker.stop()
    await bench.start_runner()
    await bench.do(replace(again, id=make_job().id))

    async def copy_is_gone() -> bool:
        return await blobs.get(*blob_place(TENANT, again.blobs["attachment://l"])) is None

    await until(copy_is_gone)


async def test_a_frame_cannot_be_put_back_and_its_input_is_not_kept(bench: Bench) -> None:
    session = session_key(TENANT, QUEUE, 1, "s")
    job = make_job(turn=Turn(session, await bench.stores.sessions.number(session)))
    async with keeping(bench) as letters:
        await die(bench, job.encode(), job.id)
        _, obstacle = await letter_of(letters)
        assert obstacle == OF_A_SESSION
        with pytest.raises(NotRequeueable, match="session"):
            await letters.requeue(job.id)
    assert (await bench.stores.letters.letters(0, 1))[1][0][1] is False


async def test_the_input_of_a_cancelled_job_is_not_kept(bench: Bench) -> None:
    job = make_job()
    await bench.stores.results.append([Entry(job.id, Failed.of(Cancelled(), time.time()))])
    async with keeping(bench) as letters:
        await die(bench, job.encode(), job.id)
        _, obstacle = await letter_of(letters)
        assert obstacle == NOT_KEPT
    assert isinstance(await end_of(bench, job), Failed)


async def test_a_job_cancelled_after_its_death_is_not_done(bench: Bench) -> None:
    job = make_job()
    async with keeping(bench) as letters:
        await die(bench, job.encode(), job.id)
        await letter_of(letters)
        await bench.stores.letters.reopen(job.id, Requeued(time.time()))  # by an operator whose gateway then died
        await bench.stores.results.append([Entry(job.id, Failed.of(Cancelled(), time.time()))])
        with pytest.raises(NotRequeueable, match=WAS_CANCELLED):
            await letters.requeue(job.id)


async def test_a_requeue_that_was_cut_off_can_be_repeated(bench: Bench) -> None:
    job = make_job(mark="m")
    await bench.start_runner()
    async with keeping(bench) as letters:
        await bench.stores.letters.keep(*await letter_with_message(job))
        await bench.stores.letters.reopen(job.id, Requeued(time.time()))
        await letters.requeue(job.id)
        assert isinstance(await end_of(bench, job), Done)


async def letter_with_message(job: Job) -> tuple[DeadLetter, bytes]:
    body = job.encode()
    return DeadLetter(job.id, "job", "rejected", time.time(), QUEUE, QUEUE, 1, TENANT, size=len(body)), body


async def test_a_queue_that_takes_nothing_leaves_the_job_failed_and_the_letter_kept(bench: Bench) -> None:
    job = make_job()
    await bench.stores.results.append([Entry(job.id, Failed(time.time(), "service_failed", "died"))])
    await bench.stores.letters.keep(*await letter_with_message(job))
    letters = DeadLetters(bench.settings, bench.broker, bench.stores)
    with pytest.raises(Unavailable, match="sensorium worker misbehaver"):  # nobody has consumed here: there is no queue
        await letters.requeue(job.id)
    event = await end_of(bench, job)
    assert isinstance(event, Failed)
    assert "could not be put back" in event.message
    assert (await letters.listed(0, 1))[1][0][1] is None


async def test_a_death_told_late_does_not_end_a_job_that_was_put_back(bench: Bench) -> None:
    """The gateway that kept the letter died before it acknowledged the message, and an operator was quick."""
    job = make_job()
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    first = await bench.broker.consume(DEAD_LETTERS, 1, arrived.put_nowait)
    await die(bench, job.encode(), job.id)
    delivery = await asyncio.wait_for(arrived.get(), SOON_S)
    await first.stop()
    await bench.stores.letters.keep(*await letter_with_message(job))
    await bench.stores.letters.reopen(job.id, Requeued(time.time()))
    async with keeping(bench):
        delivery.reject(requeue=True)

        async def letters_are_read() -> bool:
            return (await bench.broker.depth(DEAD_LETTERS)).ready == 0

        await until(letters_are_read)
        behind = make_job()
        await die(bench, behind.encode(), behind.id)
        await end_of(bench, behind)
    assert await bench.stores.results.finished([job.id]) == [False]


async def test_what_nobody_can_read_is_listed_once(bench: Bench) -> None:
    """However often it dies. Both deaths are told before the first is looked at: a later one would list it anew."""
    told: asyncio.Queue[Delivery] = asyncio.Queue()
    for number in range(2):
        await die(bench, b"not a job", f"id-{number}")
    first = await bench.broker.consume(DEAD_LETTERS, 2, told.put_nowait)
    deaths = [await asyncio.wait_for(told.get(), SOON_S) for _ in range(2)]
    await first.stop()
    async with keeping(bench) as letters:
        for death in deaths:
            death.reject(requeue=True)

        async def letters_are_read() -> bool:
            return (await bench.broker.depth(DEAD_LETTERS)).ready == 0

        await letter_of(letters)
        await until(letters_are_read)
    letter, obstacle = await letter_of(letters)
    assert (letter.kind, letter.size, obstacle) == ("unreadable", 9, UNREADABLE)
    assert (await letters.listed(0, 10))[0] == 1
    assert await letters.delete(letter.id)
    with pytest.raises(NotFound):
        await letters.requeue(letter.id)


async def test_a_visit_that_was_refused_goes_back_to_the_recorder(bench: Bench) -> None:
    visit = Visit("v-1", 1.0, 2.0)
    async with keeping(bench) as letters:
        await die(bench, visit.encode(TENANT), visit.id, VISITS)
        letter, obstacle = await letter_of(letters)
        assert (letter.kind, letter.service, letter.tenant, obstacle) == ("visit", VISITS, TENANT, None)
        await letters.requeue("v-1")
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    await bench.broker.consume(VISITS, 1, arrived.put_nowait)
    delivery = await asyncio.wait_for(arrived.get(), SOON_S)
    delivery.ack()
    assert delivery.body == visit.encode(TENANT)


async def test_deleting_leaves_the_failure(bench: Bench) -> None:
    job = make_job()
    async with keeping(bench) as letters:
        await die(bench, job.encode(), job.id)
        await letter_of(letters)
        assert await letters.delete(job.id)
        assert not await letters.delete(job.id)
    assert isinstance(await end_of(bench, job), Failed)
