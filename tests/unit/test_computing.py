"""A batch on its way through the model threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from workers.runtime.computing import Computing, Withdrawn


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


async def test_time_counts_from_the_moment_that_a_thread_takes_it(pool: ThreadPoolExecutor) -> None:
    before, during, late = threading.Event(), threading.Event(), asyncio.Event()
    pool.submit(before.wait)
    with Computing() as computing:
        computing.after(0.02, late.set)
        result = asyncio.ensure_future(computing.run(pool, lambda given: during.wait(10) and given, "done"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(late.wait(), 0.2)
        before.set()
        await asyncio.wait_for(late.wait(), 10)
        during.set()
        assert await result == "done"


async def test_progress_keeps_from_being_stuck_and_not_from_being_announced(pool: ThreadPoolExecutor) -> None:
    announced, done, stuck = asyncio.Event(), threading.Event(), []
    with Computing() as computing:

        def work(given: str) -> str:
            while not done.wait(0.02):
                computing.progressed()
            return given

        computing.after(0.1, announced.set)
        computing.unless_progress(0.5, lambda: stuck.append(True))
        result = asyncio.ensure_future(computing.run(pool, work, "done"))
        try:
            await asyncio.wait_for(announced.wait(), 5)
            await asyncio.sleep(0.6)
        finally:
            done.set()
        assert await result == "done"
    assert stuck == []


async def test_what_was_to_happen_later_does_not_after_the_end(pool: ThreadPoolExecutor) -> None:
    late = asyncio.Event()
    with Computing() as computing:
        computing.after(0.02, late.set)
        assert await computing.run(pool, str, 1) == "1"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(late.wait(), 0.1)


async def test_what_no_thread_has_taken_can_be_withdrawn(pool: ThreadPoolExecutor) -> None:
    before, done = threading.Event(), threading.Event()
    pool.submit(before.wait)
    with Computing() as computing:
        result = asyncio.ensure_future(computing.run(pool, lambda _: done.set(), None))
        await asyncio.sleep(0)
        computing.withdraw()
        with pytest.raises(Withdrawn):
            await result
    before.set()
    await asyncio.to_thread(pool.shutdown)
    assert not done.is_set()


async def test_what_computes_is_finished(pool: ThreadPoolExecutor) -> None:
    began, during = threading.Event(), threading.Event()

    def work(given: str) -> str:
        began.set()
        during.wait(10)
        return given

    with Computing() as computing:
        result = asyncio.ensure_future(computing.run(pool, work, "done"))
        await asyncio.to_thread(began.wait, 10)
        computing.withdraw()
        during.set()
        assert await result == "done"
