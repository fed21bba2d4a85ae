"""Values in memory that are gone after a while."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Expiring(Generic[Value]):
    """Values by name, each gone a fixed time (seconds) after it was last kept, on the monotonic clock."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._values: OrderedDict[str, tuple[float, Value]] = OrderedDict()

    def __len__(self) -> int:
        self._purge()
        return len(self._values)

    def __iter__(self) -> Iterator[str]:
        self._purge()
        return iter(self._values)

    def keep(self, name: str, value: Value) -> None:
        """Set the value, and begin its time anew."""
        self._purge()
        self._values[name] = (self._clock() + self._seconds, value)
        self._values.move_to_end(name)

    def get(self, name: str) -> Value | None:
        self._purge()
        found = self._values.get(name)
        return None if found is None else found[1]

    def pop(self, name: str) -> Value | None:
        self._purge()
        found = self._values.pop(name, None)
        return None if found is None else found[1]

    def _purge(self) -> None:
        """All live equally long, so the first one kept goes first."""
        now = self._clock()
        while self._values:
            name, (end, _) = next(iter(self._values.items()))
            if end > now:
                return
            del self._values[name]
