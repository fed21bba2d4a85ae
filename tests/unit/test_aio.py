"""Background tasks that somebody owns, pauses that grow, calls that are shared, and values that grow old."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from shared.aio import BackgroundTasks, SingleFlight, TtlCache, backoff, jittered

Draw = Callable[[float, float], float]


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _at_most(low: float, high: float) -> float:
    return high


def _at_least(low: float, high: float) -> float:
    return low


@pytest.mark.parametrize(("draw", "share"), [(_at_least, 0.5), (_at_most, 1.0)])
def test_pauses_grow_up_to_the_longest(monkeypatch: pytest.MonkeyPatch, draw: Draw, share: float) -> None:
    monkeypatch.setattr(random, "uniform", draw)
    pauses = [backoff(failures, 0.5, 3.0) for failures in range(5)]
    assert pauses == [share * pause for pause in (0.5, 1.0, 2.0, 3.0, 3.0)]


def test_a_pause_after_very_many_failures_is_the_longest() -> None:
    assert 30 <= backoff(100_000, 1.0, 60.0, factor=4.0) <= 60


def test_jitter_is_half_or_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", _at_least)
    assert (jittered(8), jittered(8, 0.75), jittered(8, 0.0)) == (4, 6, 0)
    assert backoff(3, 1.0, 60.0, least=0.0) == 0


async def test_a_task_is_held_until_it_ends() -> None:
    tasks, go = BackgroundTasks(), asyncio.Event()

    async def work() -> int:
        await go.wait()
        return 3

    task = tasks.start(work())
    assert len(tasks) == 1
    await tasks.wait(0)
    assert not task.done()
    go.set()
    await tasks.wait(10)
    assert task.result() == 3
    assert len(tasks) == 0
    await tasks.wait(10)
    await tasks.cancel()


async def test_a_task_that_fails_is_logged_once() -> None:
    tasks = BackgroundTasks()

    async def work() -> None:
        raise ValueError("no")

    with capture_logs() as logs:
        tasks.start(work())
        await tasks.wait(10)
        await _turns()
    (entry,) = logs
    assert (entry["event"], entry["log_level"]) == ("background_task.failed", "error")
    assert entry["task"].endswith("work")
    assert isinstance(entry["exc_info"], ValueError)
    assert len(tasks) == 0


async def test_a_task_that_fails_is_given_to_on_failed() -> None:
    failures: list[BaseException] = []
    tasks = BackgroundTasks(failures.append)

    async def fail() -> None:
        raise ValueError("on purpose")

    with capture_logs() as logs:
        tasks.start(fail())
        await tasks.wait(5)
        await asyncio.sleep(0)
    assert [str(error) for error in failures] == ["on purpose"]
    assert logs == []


async def test_tasks_that_are_cancelled_have_ended_and_are_no_failures() -> None:
    tasks, ended = BackgroundTasks(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(1)

    for _ in range(3):
        tasks.start(work())
    await _turns()
    with capture_logs() as logs:
        await tasks.cancel()
        await _turns()
    assert ended == [1, 1, 1]
    assert len(tasks) == 0
    assert not logs


class Calls:
    """A call that counts, and ends when it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.result: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.count += 1
        return await self.result


async def test_calls_for_a_key_are_one_call() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    call, other = Calls(), Calls()
    waiting = [asyncio.create_task(flights.do("a", call)) for _ in range(3)]
    waiting.append(asyncio.create_task(flights.do("b", other)))
    await _turns()
    assert "a" in flights
    call.result.set_result("one")
    other.result.set_result("two")
    assert await asyncio.gather(*waiting) == ["one", "one", "one", "two"]
    assert (call.count, other.count) == (1, 1)
    assert "a" not in flights
    assert await flights.do("a", call) == "one"
    assert call.count == 2, "what has ended is not joined"


async def test_all_who_wait_get_the_exception_and_the_next_calls_again() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    call = Calls()
    waiting = [asyncio.create_task(flights.do("a", call)) for _ in range(2)]
    await _turns()
    call.result.set_exception(ValueError("no"))
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [ValueError, ValueError]
    again = Calls()
    again.result.set_result("yes")
    assert await flights.do("a", again) == "yes"


async def test_a_waiter_that_is_cancelled_leaves_the_call_to_the_others() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    call = Calls()
    first, second = (asyncio.create_task(flights.do("a", call)) for _ in range(2))
    await _turns()
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    call.result.set_result("one")
    assert await second == "one"
    assert call.count == 1


async def test_a_call_goes_on_without_anybody() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    call = Calls()
    waiter = asyncio.create_task(flights.do("a", call))
    await _turns()
    waiter.cancel()
    await asyncio.wait([waiter])
    assert "a" in flights
    call.result.set_result("one")
    assert await flights.do("a", call) == "one"
    assert call.count == 1


def test_a_value_is_gone_after_its_time() -> None:
    clock = Clock()
    cache: TtlCache[str, int] = TtlCache(10, clock=clock)
    cache.put("a", 1)
    clock.now = 4
    cache.put("b", 2)
    clock.now = 9.5
    assert (cache.get("a"), list(cache)) == (1, ["a", "b"])
    clock.now = 10
    assert (cache.get("a"), len(cache), list(cache)) == (None, 1, ["b"])
    cache.put("b", 3)
    assert list(cache.values()) == [3]
    clock.now = 19
    assert cache.pop("b") == 3
    assert cache.pop("b") is None
    assert len(cache) == 0


def test_the_least_recently_used_makes_room_and_all_go_in_time() -> None:
    clock = Clock()
    cache: TtlCache[str, int] = TtlCache(10, 2, clock)
    cache.put("a", 1)
    clock.now = 1
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    clock.now = 10
    assert list(cache) == ["c"], "use does not prolong a life"
    cache.clear()
    assert len(cache) == 0


async def test_what_is_gone_is_loaded_once_for_all_who_ask() -> None:
    clock, asked = Clock(), []
    cache: TtlCache[int, str] = TtlCache(5, clock=clock)

    async def ask() -> str:
        asked.append(clock.now)
        await asyncio.sleep(0)
        return f"at {asked[-1]}"

    assert set(await asyncio.gather(*(cache.load(1, ask) for _ in range(20)))) == {"at 0.0"}
    clock.now = 4.9
    assert await cache.load(1, ask) == "at 0.0"
    clock.now = 5.0
    assert await cache.load(1, ask) == "at 5.0"
    assert asked == [0.0, 5.0]


async def test_what_raises_is_not_kept() -> None:
    cache: TtlCache[int, str] = TtlCache(1000)

    async def fail() -> str:
        raise ValueError("no")

    async def ask() -> str:
        return "yes"

    with pytest.raises(ValueError, match="no"):
        await cache.load(1, fail)
    assert await cache.load(1, ask) == "yes"
