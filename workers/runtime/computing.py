"""A batch on its way through the model threads, and what is to happen when it computes for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Withdrawn(Exception):
    """The batch was taken back before a thread took it: nothing of it was done."""


class Computing:
    """Time is counted from the moment that a thread takes the batch: before, it waits behind others, which have limits of their own.

    A context manager: what was to happen later does not happen once it is left.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began: float | None = None
        self._moved: float | None = None
        self._future: Future[Any] | None = None
        self._withdrawn = False
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}

    async def run(self, pool: Executor, work: Callable[[T], R], given: T) -> R:
        """What the work makes of ``given``, in a thread of the pool. Raises what it raises, and `Withdrawn`."""
        self._future = pool.submit(self._work, work, given)
        try:
            return await asyncio.wrap_future(self._future)
        except asyncio.CancelledError:
            if self._withdrawn:
                raise Withdrawn from None
            raise

    def withdraw(self) -> None:
        """Take the batch back, unless a thread has taken it."""
        self._withdrawn = self._future is not None and self._future.cancel()

    def _work(self, work: Callable[[T], R], given: T) -> R:
        self._began = self._moved = time.monotonic()
        return work(given)

    def progressed(self) -> None:
        """The work is not stuck. Called in the model thread."""
        self._moved = time.monotonic()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Call ``act`` in the event loop once the work has computed for so many seconds, progress or not."""
        self._look_in(seconds, lambda: seconds - _since(self._began), act)

    def unless_progress(self, seconds: float, act: Callable[[], None]) -> None:
        """Call ``act`` in the event loop so many seconds after the work began, or told progress last."""
        self._look_in(seconds, lambda: seconds - _since(self._moved), act)

    def _look_in(self, wait: float, left: Callable[[], float], act: Callable[[], None]) -> None:
        self._timers[act] = self._loop.call_later(wait, self._look, left, act)

    def _look(self, left: Callable[[], float], act: Callable[[], None]) -> None:
        del self._timers[act]
        wait = left()
        if wait > 0:
            self._look_in(wait, left, act)
        else:
            act()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


def _since(moment: float | None) -> float:
    """Seconds since then, on the monotonic clock; 0 for what has not come yet."""
    return 0.0 if moment is None else time.monotonic() - moment
