"""A bounded pool of threads in which the requests of one session keep their order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Optional, TypeVar

T = TypeVar("T")

_Task = tuple[Callable[[], Any], "Future[Any]"]


class Lanes:
    """Runs calls in up to ``workers`` threads. Calls of one lane run one after the other, in the order in which they came.

    At most ``most`` calls wait or run; `submit` blocks until one of them is done, so that a camera faster than the network slows down
    instead of filling the memory.
    """

    def __init__(self, workers: int, most: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="angus")
        self._room = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[_Task]] = {}

    def submit(self, call: Callable[[], T], lane: Optional[str] = None) -> Future[T]:
        """The future of the call. It cannot be cancelled once it runs."""
        future: Future[T] = Future()
        self._room.acquire()
        future.add_done_callback(lambda _: self._room.release())
        if lane is None:
            self._pool.submit(_run, call, future)
            return future
        with self._lock:
            runs = lane in self._waiting
            self._waiting.setdefault(lane, deque()).append((call, future))
        if not runs:
            self._pool.submit(self._next, lane)
        return future

    def close(self) -> None:
        """Wait for what was submitted, and end the threads."""
        with self._lock:
            last = [tasks[-1][1] for tasks in self._waiting.values() if tasks]
        wait(last)
        self._pool.shutdown(wait=True)

    def _next(self, lane: str) -> None:
        with self._lock:
            task = self._waiting[lane][0]
        _run(*task)
        with self._lock:
            self._waiting[lane].popleft()
            if not self._waiting[lane]:
                del self._waiting[lane]
                return
        self._pool.submit(self._next, lane)


def _run(call: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001  (it is the caller's, who asks for the result)
        future.set_exception(error)
    else:
        future.set_result(result)
