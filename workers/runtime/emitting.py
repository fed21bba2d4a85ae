"""Pieces of answers on their way from a model thread to the event list of their job."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from shared.errors import Cancelled, DeadlineExceeded, StoreAway
from shared.events import Chunk
from shared.ports import Entry, ResultStore
from workers.runtime.batching import Work

#: The adapters give up earlier; this is for a thread whose event loop has ended.
_STORE_SECONDS = 30.0


class Emitter:
    """Appends the pieces of the works of one batch, numbered from 0 for each attempt at a job.

    A second attempt appends the same numbers again: whoever reads takes each number once (`shared.pieces`), so that neither a
    redelivery nor two workers with the same job say anything twice.
    """

    def __init__(self, results: ResultStore, progressed: Callable[[], None]) -> None:
        """``progressed`` is called, in the model thread, at each piece: what makes progress is not stuck."""
        self._results, self._progressed = results, progressed
        self._loop = asyncio.get_running_loop()
        self._next: Counter[str] = Counter()

    def emit(self, work: Work, piece: Mapping[str, Any]) -> None:
        """Called in a model thread, which waits until the piece is stored: no more than one piece is on its way.

        Raises `Cancelled` when the job has ended meanwhile, `DeadlineExceeded` once its time is over, and what the store raises.
        """
        if time.time() > work.job.deadline:
            raise DeadlineExceeded
        self._progressed()
        if work.job.parameters.get("stream") is not True:
            return
        number = self._next[work.job.id]
        self._next[work.job.id] += 1
        entry = Entry(work.job.id, Chunk(time.time(), {"number": number, **piece}))
        storing = asyncio.run_coroutine_threadsafe(self._results.append([entry]), self._loop)
        try:
            (written,) = storing.result(_STORE_SECONDS)
        except TimeoutError:
            storing.cancel()
            raise StoreAway("the store did not take a piece of the answer") from None
        if not written:
            raise Cancelled
