"""Frames that wait for their turn are prepared meanwhile, where a model thread has nothing better to do.

The frames of a session are applied one at a time, but most of what a picture costs needs no state: decoding it, finding
what is in it. So one camera can have several threads at work.
"""

from __future__ import annotations

import asyncio

from workers.runtime.batching import Work


class Ahead:
    """The frames of one runner that are parked and not prepared yet, in the order of their arrival."""

    def __init__(self, most: int) -> None:
        """``most``: frames that are prepared, or being prepared, before their turn has come. Decoded pictures are large."""
        self._most = most
        self._waiting: dict[int, Work] = {}
        self._begun: dict[int, asyncio.Future[None]] = {}

    def add(self, work: Work) -> None:
        """The work waits for its turn. What may have killed a worker is not prepared: only attempts that are counted compute."""
        if not work.delivery.redelivered and work.job.turn is not None and not work.job.turn.closing:
            self._waiting[id(work)] = work

    def next(self) -> Work | None:
        """A work to prepare now, which `prepared` is to be called for; None when there is none, or enough are prepared."""
        if not self._waiting or len(self._begun) >= self._most:
            return None
        key = next(iter(self._waiting))
        self._begun[key] = asyncio.get_running_loop().create_future()
        return self._waiting.pop(key)

    def prepared(self, work: Work) -> None:
        begun = self._begun.get(id(work))
        if begun is not None and not begun.done():
            begun.set_result(None)

    async def leave(self, work: Work) -> None:
        """The work waits no longer; returns once nobody prepares it."""
        self._waiting.pop(id(work), None)
        begun = self._begun.get(id(work))
        if begun is not None:
            try:
                await asyncio.wait([begun])
            finally:
                del self._begun[id(work)]
