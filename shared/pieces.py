"""The pieces of a streamed answer among the events of its job: each is taken once, in order."""

from __future__ import annotations

from shared.events import Chunk, Event


class Pieces:
    """Says of each event of a job, as they come, whether it is news.

    A job that is delivered again emits its pieces from the first one on; so do two workers that have the same job for a while. Each of
    them numbers its pieces from 0 without a gap, so the first event with the number that comes next is the one to take.
    """

    def __init__(self) -> None:
        self._next = 0

    def is_news(self, event: Event) -> bool:
        """True but for a piece whose number was seen before, and for one that is not kept any more, which is empty."""
        if isinstance(event, Chunk) and not event.data:
            return False
        if not isinstance(event, Chunk) or "number" not in event.data:
            return True
        if event.data["number"] != self._next:
            return False
        self._next += 1
        return True
