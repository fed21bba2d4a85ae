"""The rows of the runner's policy, each as a test over the in-process adapters and over the servers."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from shared.errors import QueueFull
from shared.events import Done, Failed, Started
from shared.jobs import Job, Turn, session_key
from shared.ports import DEAD_LETTERS, Delivery, Entry, Message
from shared.visits import VISITS, decode_visit
from tests.contract import brokers
from tests.contract.benches import bench, open_bench_with
from tests.fakes import TENANT, Bench, make_job, misbehaver

__all__ = ["bench", "open_bench_with"]

SESSION = session_key(TENANT, "misbehaver", 1, "s")


async def dead_letters(bench: Bench) -> asyncio.Queue[Delivery]:
    letters: asyncio.Queue[Delivery] = asyncio.Queue()
    await bench.broker.consume(DEAD_LETTERS, 10, letters.put_nowait)
    return letters


async def test_answered_is_done_and_acknowledged(bench: Bench) -> None:
    await bench.start_runner()
    event = await bench.do(make_job(mark="m"))
    assert isinstance(event, Done)
    assert event.result == {"mark": "m", "together": 1}
    assert (await bench.broker.depth("misbehaver")).ready == 0


async def test_undecodable_goes_to_the_dead_letters(bench: Bench) -> None:
    letters = await dead_letters(bench)
    await bench.start_runner()
    await bench.broker.publish(Message("misbehaver", b"not a job", "x"))
    letter = await asyncio.wait_for(letters.get(), 5)
    assert letter.reason == "rejected"
    letter.ack()


async def test_finished_already_is_not_done_again(bench: Bench) -> None:
    job = make_job(mark="second")
    await bench.start_runner(check_after=-1.0)
    await bench.stores.results.append([Entry(job.id, Done(time.time(), {"mark": "first"}))])
    await bench.publish(job)
    await bench.do(make_job(mark="after"))
    assert [event.result for event in await bench.stores.results.events(job.id) if isinstance(event, Done)] == [{"mark": "first"}]


async def test_a_duplicate_that_computed_is_dropped(bench: Bench) -> None:
    await bench.start_runner()
    job = make_job(mark="m")
    await bench.do(job)
    await bench.publish(job)
    await bench.do(make_job())
    assert len(await bench.stores.results.events(job.id)) == 1


async def test_past_its_deadline(bench: Bench) -> None:
    await bench.start_runner()
    event = await bench.do(make_job(lasts=-1.0))
    assert isinstance(event, Failed)
    assert event.code == "deadline_exceeded"


async def test_invalid_input_names_the_parameter(bench: Bench) -> None:
    await bench.start_runner()
    event = await bench.do(make_job(seconds="many"))
    assert isinstance(event, Failed)
    assert (event.code, event.parameter) == ("invalid_parameter", "seconds")


async def test_an_error_of_the_item(bench: Bench) -> None:
    await bench.start_runner()
    event = await bench.do(make_job(deed="error"))
    assert isinstance(event, Failed)
    assert event.code == "unreadable_input"


async def test_a_passing_error_is_tried_again_so_many_times(bench: Bench) -> None:
    await bench.start_runner(attempts=3)
    event = await bench.do(make_job(deed="passing"))
    assert isinstance(event, Failed)
    assert event.code == "model_missing"


async def test_a_passing_error_that_passes(bench: Bench, tmp_path: object) -> None:
    await bench.start_runner()
    event = await bench.do(make_job(deed="passing", once=f"{tmp_path}/once"))
    assert isinstance(event, Done)


@pytest.mark.parametrize("deed", ["raise", "too_little"])
async def test_a_batch_that_fails_is_replayed_one_by_one(bench: Bench, deed: str) -> None:
    jobs = [make_job(deed=deed), *(make_job(mark=str(n)) for n in range(3))]
    runner = await bench.start_runner(batch=4, slots=1)
    await asyncio.gather(*(bench.publish(job) for job in jobs))
    events = [await bench.final(job.id) for job in jobs]
    assert isinstance(events[0], Failed)
    assert events[0].code == "service_failed"
    assert all(isinstance(event, Done) for event in events[1:])
    assert runner.name == "misbehaver"


async def test_a_job_given_up_goes_to_the_dead_letters(bench: Bench) -> None:
    letters = await dead_letters(bench)
    job = make_job()
    await bench.stores.results.count_attempt(job.id, 3)
    deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
    first = await bench.broker.consume("misbehaver", 1, deliveries.put_nowait)
    await bench.publish(job)
    delivery = await deliveries.get()
    await first.stop()
    delivery.reject(requeue=True)
    await bench.start_runner(attempts=3)
    letter = await asyncio.wait_for(letters.get(), 5)
    assert letter.body == job.encode()
    letter.ack()


async def test_a_long_job_says_that_it_started(bench: Bench) -> None:
    await bench.start_runner(announce_after=0.05)
    job = make_job(deed="sleep", seconds=0.3)
    await bench.do(job)
    kinds = [type(event) for event in await bench.stores.results.events(job.id)]
    assert kinds == [Started, Done]


async def test_a_batch_that_outlasts_its_time_is_reported(bench: Bench) -> None:
    await bench.start_runner(process_seconds=0.05)
    await bench.do(make_job(deed="sleep", seconds=0.3))
    assert bench.stuck == ["misbehaver"]


async def test_explain_says_how_it_was_made(bench: Bench) -> None:
    await bench.start_runner()
    job = make_job()
    explained = Job(**{**{name: getattr(job, name) for name in Job.__slots__}, "explain": True})
    event = await bench.do(explained)
    assert isinstance(event, Done)
    assert event.result["explain"]["attempt"] == 1
    assert event.result["explain"]["batch_items"] == 1


async def numbered(bench: Bench, count: int) -> list[Turn]:
    return [Turn(SESSION, await bench.stores.sessions.number(SESSION)) for _ in range(count)]


async def test_frames_are_applied_in_their_order_whatever_the_order_of_delivery(bench: Bench) -> None:
    await bench.start_runner(slots=2, batch=4, prefetch=16, parked=14)
    await bench.start_runner(slots=2, batch=4, prefetch=16, parked=14)
    jobs = [make_job(turn=turn, mark=str(turn.number)) for turn in await numbered(bench, 12)]
    for job in reversed(jobs):
        await bench.publish(job)
    last = await bench.final(jobs[-1].id)
    assert isinstance(last, Done)
    assert last.result["marks"] == [str(n) for n in range(1, 13)]
    assert [(await bench.final(job.id)).result["count"] for job in jobs] == list(range(1, 13))  # type: ignore[attr-defined]


async def test_a_lost_frame_becomes_a_declared_gap(bench: Bench) -> None:
    await bench.start_runner(gap_seconds=0.2)
    first, _, third = [make_job(turn=turn, mark=str(turn.number)) for turn in await numbered(bench, 3)]
    await bench.do(first)
    event = await bench.do(third)
    assert isinstance(event, Done)
    assert event.result["marks"] == ["1", "3"]
    assert event.result["gap_frames"] == 1


async def test_frames_that_take_long_are_no_gap(bench: Bench) -> None:
    """The last waits for all of them together for longer than one may be missing."""
    await bench.start_runner(gap_seconds=0.6, slots=3)
    turns, seconds = await numbered(bench, 4), (0.4, 0.4, 0.4, 0.0)
    jobs = [make_job(turn=turn, mark=str(turn.number), deed="sleep", seconds=each) for turn, each in zip(turns, seconds, strict=True)]
    for job in jobs:
        await bench.publish(job)
    events = [await bench.final(job.id) for job in jobs]
    last = events[-1]
    assert isinstance(last, Done), events
    assert (last.result["marks"], "gap_frames" in last.result) == (["1", "2", "3", "4"], False)


async def test_a_failed_frame_leaves_no_trace_in_the_state(bench: Bench) -> None:
    await bench.start_runner()
    jobs = [
        make_job(turn=turn, mark=str(turn.number), deed="raise" if turn.number == 2 else "nothing") for turn in await numbered(bench, 3)
    ]
    events = [await bench.do(job) for job in jobs]
    assert isinstance(events[1], Failed)
    assert isinstance(events[2], Done)
    assert events[2].result["marks"] == ["1", "3"]
    assert events[2].result["gap_frames"] == 1


async def test_a_frame_delivered_twice_is_applied_once(bench: Bench) -> None:
    await bench.start_runner()
    first, second = [make_job(turn=turn, mark=str(turn.number)) for turn in await numbered(bench, 2)]
    await bench.do(first)
    await bench.publish(first)
    event = await bench.do(second)
    assert isinstance(event, Done)
    assert event.result["marks"] == ["1", "2"]


async def test_more_waiting_frames_than_a_worker_may_hold_go_round(bench: Bench) -> None:
    await bench.start_runner(prefetch=4, parked=2)
    jobs = [make_job(turn=turn, mark=str(turn.number)) for turn in await numbered(bench, 10)]
    for job in reversed(jobs):
        await bench.publish(job)
    last = await bench.final(jobs[-1].id, 20)
    assert isinstance(last, Done)
    assert last.result["count"] == 10


async def test_a_frame_whose_turn_comes_after_its_deadline(bench: Bench) -> None:
    await bench.start_runner()
    first, second, third = await numbered(bench, 3)
    late = make_job(turn=second, lasts=0.3, mark="late")
    await bench.publish(late)
    await bench.publish(make_job(turn=third, mark="third"))
    await asyncio.sleep(0.4)  # time itself is what is tested
    await bench.do(make_job(turn=first, mark="first"))
    event = await bench.final(late.id)
    assert isinstance(event, Failed)
    assert event.code == "deadline_exceeded"
    assert (await bench.stores.sessions.load(SESSION)).finished >= 2


async def test_the_closing_turn_tells_the_service(bench: Bench, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = f"{tmp_path}/closed"
    monkeypatch.setenv("MISBEHAVER_CLOSED", closed)
    await bench.start_runner()
    for turn in await numbered(bench, 2):
        await bench.do(make_job(turn=turn, mark=str(turn.number)))
    number = await bench.stores.sessions.number(SESSION)
    await bench.do(make_job(turn=Turn(SESSION, number, closing=True)))
    with open(closed) as file:
        assert file.read() == "1,2\n"
    assert (await bench.stores.sessions.load(SESSION)).state is None


async def kept_visits(bench: Bench) -> asyncio.Queue[Delivery]:
    visits: asyncio.Queue[Delivery] = asyncio.Queue()
    await bench.broker.consume(VISITS, 10, visits.put_nowait)
    return visits


async def test_visits_are_in_the_recorders_queue_before_the_result(bench: Bench) -> None:
    await bench.start_runner()
    await bench.do(make_job(deed="visit", mark="v"))
    there = (await bench.broker.depth(VISITS)).ready
    assert there >= 2  # although no recorder ever ran; a slow broker may have been told twice
    visits = await kept_visits(bench)
    seen = [decode_visit((await asyncio.wait_for(visits.get(), 5)).body) for _ in range(there)]
    assert {(stream, visit.id) for stream, visit in seen} == {(TENANT, "v-0"), (TENANT, "v-1")}


async def test_visits_that_end_with_a_session(bench: Bench) -> None:
    await bench.start_runner()
    visits = await kept_visits(bench)
    (turn,) = await numbered(bench, 1)
    await bench.do(make_job(turn=turn, mark="left"))
    number = await bench.stores.sessions.number(SESSION)
    await bench.do(make_job(turn=Turn(SESSION, number, closing=True)))
    stream, visit = decode_visit((await asyncio.wait_for(visits.get(), 5)).body)
    assert (stream, visit.id, visit.closed) == (TENANT, "left", True)


async def test_without_a_safe_place_for_its_visits_a_job_has_no_result(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.start_runner(retry_pause=0.01)
    publish = bench.broker.publish
    refused: list[str] = []

    async def full_at_first(message: Message) -> None:
        if message.queue == VISITS and len(refused) < 2:
            assert not (await bench.stores.results.finished([job.id]))[0]
            refused.append(message.id)
            raise QueueFull
        await publish(message)

    job = make_job(deed="visit", mark="v")
    monkeypatch.setattr(bench.broker, "publish", full_at_first)
    event = await bench.do(job)
    assert isinstance(event, Done)
    assert len(refused) == 2
    visits = await kept_visits(bench)
    seen = {decode_visit((await asyncio.wait_for(visits.get(), 5)).body)[1].id for _ in range(2)}
    assert seen == {"v-0", "v-1"}


async def test_a_thread_takes_the_next_batch_while_the_event_loop_is_busy(bench: Bench) -> None:
    gate, done = threading.Semaphore(0), threading.Semaphore(0)

    class Gated(type(misbehaver())):  # type: ignore[misc]
        def process(self, batch: Any) -> Any:
            gate.acquire(timeout=10)
            done.release()
            return super().process(batch)

    await bench.start_runner(Gated(), slots=1, batch=1)
    jobs = [make_job(), make_job()]
    for job in jobs:
        await bench.publish(job)
    await brokers.until(lambda: ready(bench, 0))
    await asyncio.sleep(0)
    gate.release(2)
    assert all([done.acquire(timeout=10), done.acquire(timeout=10)])  # meanwhile nothing else runs in this loop
    assert all([isinstance(await bench.final(job.id), Done) for job in jobs])


async def test_stopping_gives_back_what_has_not_begun(bench: Bench) -> None:
    runner = await bench.start_runner(slots=1, batch=1, prefetch=8)
    slow, *waiting = [make_job(deed="sleep", seconds=0.3), *(make_job() for _ in range(3))]
    for job in (slow, *waiting):
        await bench.publish(job)
    await brokers.until(lambda: ready(bench, 0))
    await asyncio.sleep(0)
    await runner.stop()
    assert isinstance(await bench.final(slow.id), Done)
    await brokers.until(lambda: ready(bench, 3))
    await bench.start_runner(attempts=1)
    assert all([isinstance(await bench.final(job.id), Done) for job in waiting])


async def test_stopping_gives_back_frames_whose_turn_has_not_come(bench: Bench) -> None:
    """What they wait for may be in a queue that nobody consumes until this worker is gone."""
    runner = await bench.start_runner(gap_seconds=30.0)
    first, *waiting = [make_job(turn=turn, mark=str(turn.number)) for turn in await numbered(bench, 4)]
    for job in waiting:
        await bench.publish(job)
    await brokers.until(lambda: ready(bench, 0))
    async with asyncio.timeout(10):
        await runner.stop()
    await brokers.until(lambda: ready(bench, 3))
    await bench.start_runner(attempts=1)
    await bench.publish(first)
    last = await bench.final(waiting[-1].id)
    assert isinstance(last, Done)
    assert last.result["marks"] == ["1", "2", "3", "4"]


async def test_workers_that_stop_one_after_the_other_give_no_attempts_away(bench: Bench) -> None:
    """A job that kills its workers would kill one more for each."""
    _, second = await numbered(bench, 2)
    job = make_job(turn=second)
    runner = await bench.start_runner(gap_seconds=30.0)
    await bench.publish(job)
    for _ in range(3):
        await brokers.until(lambda: ready(bench, 0))
        await runner.stop()
        await brokers.until(lambda: ready(bench, 1))
        runner = await bench.start_runner(gap_seconds=30.0)
    assert await bench.stores.results.count_attempt(job.id) == 0  # its next delivery is its first attempt


async def ready(bench: Bench, count: int) -> bool:
    return (await bench.broker.depth("misbehaver")).ready == count
