"""Answers that many ask for and that may be a few seconds old: asked for once, whoever looks."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """Values by key, each asked for again once it is too old. What raises is not remembered."""

    def __init__(
        self, ask: Callable[[Key], Awaitable[Value]], seconds: float, most: int = 64, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``seconds``: how old a value may be; ``most``: values that are kept, the latest asked for."""
        self._ask, self._seconds, self._most, self._clock = ask, seconds, most, clock
        self._values: OrderedDict[Key, tuple[float, Value]] = OrderedDict()
        self._lock = asyncio.Lock()

    async def get(self, key: Key) -> Value:
        async with self._lock:
            found = self._values.get(key)
            if found is None or self._clock() - found[0] > self._seconds:
                found = (self._clock(), await self._ask(key))
                self._values[key] = found
                self._values.move_to_end(key)
                if len(self._values) > self._most:
                    self._values.popitem(last=False)
            return found[1]
