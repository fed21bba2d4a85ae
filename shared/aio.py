"""What asyncio lacks and many modules need: owned background tasks, backoff, single flight, a TTL cache."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from shared.log import get_logger

log = get_logger(__name__)

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
#: Seconds, from any beginning, that never go back.
Clock = Callable[[], float]

#: Seconds before the second try to reach a server that is away, and at most between two tries.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
#: Exponents of `backoff` are cut here: the longest pause is reached before, and a float would overflow.
_MOST_DOUBLINGS = 64


def jittered(seconds: float, least: float = 0.5) -> float:
    """``seconds`` or less, at random, so that processes which began together do not go on in step.

    ``least`` is the smallest share of it: 0.5 is half jitter, 0 is full jitter.
    """
    return random.uniform(least * seconds, seconds)  # noqa: S311 - spreads load, keeps no secret


def backoff(
    failures: int,
    first: float = FIRST_PAUSE,
    longest: float = LONGEST_PAUSE,
    *,
    factor: float = 2.0,
    least: float = 0.5,
) -> float:
    """Seconds to wait before the next try, when ``failures`` (from 0 on) pauses came before it.

    Exponential: ``first``, then ``factor`` times as long each time, at most ``longest``; then `jittered`.
    """
    return jittered(min(first * factor ** min(failures, _MOST_DOUBLINGS), longest), least)


class BackgroundTasks:
    """Tasks that outlive the call that started them; their owner waits for them, or cancels them, at its end.

    The event loop refers to tasks weakly, so somebody has to hold them. Nobody awaits their results: one that
    fails is logged as ``background_task.failed``, or given to ``on_failed``.
    """

    def __init__(self, on_failed: Callable[[BaseException], None] | None = None) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_failed = on_failed

    def __len__(self) -> int:
        """The tasks that have not ended."""
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin ``work`` in a task that is held until it ends."""
        task = asyncio.get_running_loop().create_task(work, name=getattr(work, "__qualname__", None))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def wait(self, seconds: float) -> None:
        """Return once the tasks of this moment have ended, at the latest after so many seconds."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def cancel(self) -> None:
        """Cancel every task, and return once they have ended."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._on_failed is None:
            log.error("background_task.failed", task=task.get_name(), exc_info=error)
        else:
            self._on_failed(error)


class SingleFlight(Generic[Key, Value]):
    """At most one call under way for each key: whoever asks meanwhile gets its result too, or its exception.

    The call belongs to none of those who wait: it goes on when one of them is cancelled, or all.
    """

    def __init__(self) -> None:
        self._calls: dict[Key, asyncio.Task[Value]] = {}

    def __contains__(self, key: Key) -> bool:
        """Whether a call is under way, which `do` would join."""
        task = self._calls.get(key)
        return task is not None and not task.done()

    async def do(self, key: Key, call: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """The result of the call under way, or of ``call`` when there is none."""
        if key not in self:
            task = self._calls[key] = asyncio.get_running_loop().create_task(call())
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(self._calls[key])

    def _ended(self, key: Key, done: asyncio.Task[Value]) -> None:
        if self._calls.get(key) is done:  # else the next call has begun already
            del self._calls[key]


class TtlCache(Generic[Key, Value]):
    """Values by key, each gone ``seconds`` after it was put (its time to live).

    With ``most``, a bound, the least recently used value makes room for a new one.
    """

    def __init__(self, seconds: float, most: int | None = None, clock: Clock = time.monotonic) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        #: In the order of their last use.
        self._values: OrderedDict[Key, Value] = OrderedDict()
        #: When each value is gone. All live equally long, so this is also the order in which they go.
        self._ends: OrderedDict[Key, float] = OrderedDict()
        self._loads: SingleFlight[Key, Value] = SingleFlight()

    def __len__(self) -> int:
        self._expire()
        return len(self._values)

    def __iter__(self) -> Iterator[Key]:
        """The keys, those that go first being first."""
        self._expire()
        return iter(self._ends)

    def values(self) -> Iterable[Value]:
        """The values, the least recently used first."""
        self._expire()
        return self._values.values()

    def put(self, key: Key, value: Value) -> None:
        """Set the value, and begin its time anew."""
        self._expire()
        self._values[key], self._ends[key] = value, self._clock() + self._seconds
        self._values.move_to_end(key)
        self._ends.move_to_end(key)
        if self._most is not None and len(self._values) > self._most:
            self.pop(next(iter(self._values)))

    def get(self, key: Key) -> Value | None:
        """The value, used once more; None when it is gone."""
        self._expire()
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    async def load(self, key: Key, call: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """The value; when it is gone, what ``call`` returns, called once for all who ask."""
        found = self.get(key)
        return found if found is not None else await self._loads.do(key, lambda: self._loaded(key, call))

    def pop(self, key: Key) -> Value | None:
        """Remove the value; None when it was gone."""
        self._expire()
        self._ends.pop(key, None)
        return self._values.pop(key, None)

    def clear(self) -> None:
        """Remove every value."""
        self._values.clear()
        self._ends.clear()

    async def _loaded(self, key: Key, call: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        value = await call()
        self.put(key, value)  # before the call ends, so that nobody begins another one in between
        return value

    def _expire(self) -> None:
        now = self._clock()
        while self._ends:
            key = next(iter(self._ends))
            if self._ends[key] > now:
                return
            del self._ends[key], self._values[key]
