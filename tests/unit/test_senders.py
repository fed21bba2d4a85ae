"""Which of two connections is the newer one."""

from __future__ import annotations

from gateway.stream_intake import new_sender


def test_who_connects_later_is_newer_within_a_millisecond_too() -> None:
    senders = [new_sender() for _ in range(1000)]
    assert senders == sorted(senders)
    assert len(set(senders)) == len(senders)
