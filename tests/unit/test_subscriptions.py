"""Which channels are asked for, which are live, and when those who may have missed something are told."""

from __future__ import annotations

import pytest

from shared.adapters.redis.subscriptions import Subscriptions


@pytest.fixture
async def subscriptions() -> Subscriptions:
    return Subscriptions()


def confirm(subscriptions: Subscriptions, *names: str) -> None:
    for name in names:
        subscriptions.receive(b"subscribe", name.encode(), 1)


async def test_a_channel_is_asked_for_once_and_live_once_confirmed(subscriptions: Subscriptions) -> None:
    got: list[bytes] = []
    channel = subscriptions.acquire("a", got.append)
    assert subscriptions.acquire("a", print) is channel
    assert subscriptions.has_new
    assert subscriptions.subscribe_new() == ["a"]
    assert not subscriptions.has_new
    assert not channel.live.done()
    confirm(subscriptions, "a")
    assert channel.live.done()
    subscriptions.receive(b"message", b"a", b"news")
    subscriptions.receive(b"message", b"b", b"of nobody")
    assert got == [b"news"]


async def test_those_who_may_have_missed_something_are_told_once_all_is_confirmed(
    subscriptions: Subscriptions,
) -> None:
    resumed: list[int] = []
    subscriptions.on_resume(lambda: resumed.append(1))
    first, second = (subscriptions.acquire(name, print) for name in "ab")
    assert subscriptions.subscribe_all() == ["a", "b"]
    confirm(subscriptions, "a")
    assert not resumed
    confirm(subscriptions, "b")
    assert resumed == [1]
    subscriptions.acquire("c", print)
    subscriptions.subscribe_new()
    confirm(subscriptions, "c")
    assert resumed == [1], "nothing was missed"
    subscriptions.lose_all()
    assert not first.live.done()
    assert not second.live.done()
    assert subscriptions.subscribe_all() == ["a", "b", "c"]
    confirm(subscriptions, "a", "b", "c")
    assert resumed == [1, 1]


async def test_channels_that_nobody_needs_are_forgotten(subscriptions: Subscriptions) -> None:
    idle, unconfirmed, used = (subscriptions.acquire(name, print) for name in "abc")
    subscriptions.subscribe_new()
    confirm(subscriptions, "a")
    for channel in (idle, unconfirmed):
        channel.users -= 1
    assert subscriptions.remove_idle() == ["a"]
    assert (len(subscriptions), used.users) == (2, 1)


async def test_a_message_that_cannot_be_read_ends_nothing(subscriptions: Subscriptions) -> None:
    subscriptions.acquire("a", lambda message: int(message) and None)
    subscriptions.receive(b"message", b"a", b"nonsense")
