"""Which of two connections is the newer one."""

from __future__ import annotations

import time

from gateway.streams.places import new_sender


def test_who_connects_later_is_newer_within_a_millisecond_too() -> None:
    for _ in range(100):
        first, now = new_sender(), time.time_ns()
        while time.time_ns() == now:  # clocks of some systems count in microseconds
            pass
        assert first < new_sender()
