"""When the job of a dead letter may go on, in words that every archive uses."""

from __future__ import annotations

from shared.errors import Cancelled, NotRequeueable
from shared.events import Done, Event, Failed
from shared.facts import DeadLetter

NO_LETTER = "there is no such dead letter; it was deleted, put back into its queue, or its time was over"
NOT_KEPT = "its input is no longer kept (SENSORIUM_DEAD_LETTER_INPUT_SECONDS, SENSORIUM_DEAD_LETTER_BYTES)"
WAS_DONE = "the job was done after all, and its result stands"
WAS_CANCELLED = "its caller cancelled the job"


def obstacle_of(letter: DeadLetter, message: bytes | None, last: Event | None = None) -> str | None:
    """Why the letter cannot be put back into its queue; None when it can. ``last``: the last event of its job, if any."""
    if letter.obstacle is not None:
        return letter.obstacle
    if message is None:
        return NOT_KEPT
    if isinstance(last, Done):
        return WAS_DONE
    if isinstance(last, Failed) and last.code == Cancelled.code:
        return WAS_CANCELLED
    return None


def refuse_obstacle(obstacle: str | None) -> None:
    """Raise `NotRequeueable` if there is an obstacle."""
    if obstacle is not None:
        raise NotRequeueable(obstacle)
