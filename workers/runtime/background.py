"""Background tasks: started in the event loop, waited for when the worker drains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class BackgroundTasks:
    """Tasks that nobody awaits one by one, kept until they are done: the event loop alone does not."""

    def __init__(self, on_failed: Callable[[BaseException], None]) -> None:
        """``on_failed`` is called with what a task raised."""
        self._on_failed = on_failed
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def drain(self, seconds: float) -> int:
        """Wait for those that run now, for so long at most. Returns how many are not done."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        return len(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._on_failed(error)
