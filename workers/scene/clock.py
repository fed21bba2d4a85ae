"""The camera's clock: every time that is measured comes from the client's timestamps, which may be irregular, repeated or wrong."""

from __future__ import annotations

from dataclasses import dataclass

#: The longest time between two frames that is counted as having been watched, in seconds.
MAX_STEP = 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """A frame's time. ``now``: seconds of the session, from 0, never falling. ``counted``: seconds since the frame before, 0 for a repeated
    timestamp, at most `MAX_STEP`: nobody knows what happened in a longer gap."""

    now: float
    counted: float


@dataclass(slots=True)
class Clock:
    """``epoch``: the client's time, seconds since 1970, at second 0 of the session; moved on when the client sets its clock back."""

    now: float = 0.0
    stamp: float | None = None
    epoch: float = 0.0

    def advance(self, stamp: float) -> Step:
        """Take the frame's timestamp (seconds since 1970). One before the last counts as the last, and time goes on from it."""
        if self.stamp is None:
            self.epoch = stamp
        passed = 0.0 if self.stamp is None else stamp - self.stamp
        if passed < 0:
            self.epoch += passed
            passed = 0.0
        self.stamp = stamp
        self.now = round(self.now + passed, 6)
        return Step(self.now, min(passed, MAX_STEP))

    def wall(self, now: float) -> float:
        """The client's time at second ``now`` of the session, seconds since 1970."""
        return self.epoch + now
