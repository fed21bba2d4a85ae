"""Waiting in asyncio for a condition that code of the same loop brings about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Changes:
    """`until` waits for a condition, which is looked at again with each `tell`. Between its return and the next ``await`` it still holds."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def tell(self) -> None:
        """Something changed."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, holds: Callable[[], object]) -> None:
        """Return once ``holds()`` is true."""
        while not holds():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)
