"""The answers of a stream that wait for their reader, up to a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shared.errors import SlowReader
from shared.settings import Settings


class Unread:
    """Answers as JSON, in order."""

    def __init__(self, settings: Settings, after: int, is_over: Callable[[], bool]) -> None:
        """``after``: the last frame whose answer is not wanted; ``is_over``: no further answer comes."""
        self._most, self._most_bytes = settings.stream_unread, settings.stream_unread_bytes
        self._is_over = is_over
        #: The last frame whose answer came.
        self._told = after
        #: The last frame whose answer is to be told, when that is known.
        self._last: int | None = None
        self._answers: list[bytes] = []
        self._bytes = 0
        self._stopped = False
        self._readable = asyncio.Event()

    async def take(self) -> list[bytes]:
        """The answers that have come, waited for if there are none; empty once all are told."""
        while not self._answers and not self._is_done():
            self._readable.clear()
            await self._readable.wait()
        if self._stopped:
            return []
        taken, self._answers, self._bytes = self._answers, [], 0
        return taken

    def overflow(self) -> SlowReader | None:
        """What to end the connection with, when there is no room for another answer."""
        count = len(self._answers)
        if count < self._most and self._bytes <= self._most_bytes:
            return None
        return SlowReader(f"{count} answers ({self._bytes} bytes) waited to be read, which is the most")

    def add(self, number: int, answer: bytes) -> None:
        """The answer to this frame."""
        self._answers.append(answer)
        self._bytes += len(answer)
        self._told = number
        self._readable.set()

    def stop(self) -> None:
        """Tell no more, whatever has come."""
        self._stopped = True
        self._readable.set()

    def end_after(self, number: int) -> None:
        """Tell the answers up to this frame, and no more."""
        self._last = number
        self._readable.set()

    def look_again(self) -> None:
        """Whether all is over may have changed."""
        self._readable.set()

    def _is_done(self) -> bool:
        if self._stopped or (self._last is not None and self._told >= self._last):
            return True
        return self._is_over()
