"""What every store of streams of frames does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from shared.errors import StoreAway, StreamEnded, StreamTaken
from shared.ports import StreamView
from tests.contract.stores import SOON_S, OpenPair, Pair, keys_of, open_pair, pair, redis_pair, until
from tests.servers import Server

__all__ = ["open_pair", "pair"]

STREAM, SENDER = "stream-1", "0001"


async def add(pair: Pair, *frames: bytes, sender: str = SENDER) -> list[int]:
    return [await pair.gateway.streams.add(STREAM, sender, frame) for frame in frames]


async def view(pair: Pair, after: int = 0) -> StreamView:
    found = await pair.worker.streams.read(STREAM, after)
    assert found is not None
    return found


async def numbered(frames: AsyncIterator[tuple[int, bytes]], count: int) -> list[tuple[int, bytes]]:
    async with asyncio.timeout(SOON_S):
        return [await anext(frames) for _ in range(count)]


async def test_frames_are_numbered_and_kept_in_order(pair: Pair) -> None:
    await pair.gateway.streams.begin(STREAM, b"\x00about\xff")
    assert await add(pair, b"one", b"two\x00", b"three") == [1, 2, 3]
    found = await view(pair)
    assert (found.about, found.count, found.ended, found.over) == (b"\x00about\xff", 3, "", False)
    assert list(found.frames) == [(1, b"one"), (2, b"two\x00"), (3, b"three")]
    assert 0 < found.remaining <= 60
    assert list((await view(pair, 2)).frames) == [(3, b"three")]
    assert list((await view(pair, 2**53)).frames) == []


async def test_a_stream_that_was_never_begun_is_none_and_takes_nothing(pair: Pair) -> None:
    assert await pair.gateway.streams.read("unknown", 0) is None
    assert not await pair.gateway.streams.end("unknown", "deleted")
    with pytest.raises(StreamEnded):
        await pair.gateway.streams.add("unknown", SENDER, b"frame")


async def test_only_the_last_frames_are_kept(open_pair: OpenPair) -> None:
    async with open_pair(stream_unread=3) as pair:
        await pair.gateway.streams.begin(STREAM, b"")
        assert await add(pair, *(b"%d" % number for number in range(1, 6))) == [1, 2, 3, 4, 5]
        assert list((await view(pair)).frames) == [(3, b"3"), (4, b"4"), (5, b"5")]
        async with pair.worker.streams.follow(STREAM, 0) as frames:
            assert await numbered(frames, 3) == [(3, b"3"), (4, b"4"), (5, b"5")]


async def test_who_follows_hears_of_every_frame_once(pair: Pair) -> None:
    await pair.gateway.streams.begin(STREAM, b"")
    await add(pair, b"1", b"2")
    async with pair.worker.streams.follow(STREAM, 1) as frames, pair.gateway.streams.follow(STREAM, 0) as all_of_them:
        assert await numbered(frames, 1) == [(2, b"2")]
        adding = asyncio.create_task(add(pair, *(b"%d" % number for number in range(3, 103))))
        assert await numbered(frames, 100) == [(number, b"%d" % number) for number in range(3, 103)]
        assert [number for number, _ in await numbered(all_of_them, 102)] == list(range(1, 103))
        await adding


async def test_following_ends_with_the_stream(pair: Pair) -> None:
    await pair.gateway.streams.begin(STREAM, b"")
    async with pair.worker.streams.follow(STREAM, 0) as frames:
        following = asyncio.create_task(anext(frames))
        await add(pair, b"1")
        assert await following == (1, b"1")
        following = asyncio.create_task(anext(frames))
        assert await pair.gateway.streams.end(STREAM, "deleted")
        async with asyncio.timeout(SOON_S):
            with pytest.raises(StopAsyncIteration):
                await following
    assert not await pair.worker.streams.end(STREAM, "finished")
    found = await view(pair)
    assert (found.ended, found.over, list(found.frames)) == ("deleted", True, [(1, b"1")])
    with pytest.raises(StreamEnded):
        await add(pair, b"2")


async def test_who_comes_late_hears_what_was_before_the_end(pair: Pair) -> None:
    await pair.gateway.streams.begin(STREAM, b"")
    await add(pair, b"1", b"2")
    await pair.gateway.streams.end(STREAM, "finished")
    async with asyncio.timeout(SOON_S), pair.worker.streams.follow(STREAM, 0) as frames:
        assert [frame async for frame in frames] == [(1, b"1"), (2, b"2")]


async def test_the_newer_sender_takes_over(pair: Pair) -> None:
    await pair.gateway.streams.begin(STREAM, b"")
    assert await add(pair, b"1", sender="0001") == [1]
    assert await add(pair, b"2", sender="0002") == [2]
    assert await add(pair, b"3", sender="0002") == [3]
    with pytest.raises(StreamTaken):
        await add(pair, b"4", sender="0001")
    assert (await view(pair)).count == 3


async def test_a_stream_without_frames_ends_by_itself(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=0.4) as pair:
        await pair.gateway.streams.begin(STREAM, b"")
        await add(pair, b"1")
        async with asyncio.timeout(SOON_S), pair.worker.streams.follow(STREAM, 0) as frames:
            assert [frame async for frame in frames] == [(1, b"1")]
        found = await view(pair)
        assert (found.ended, found.over, list(found.frames)) == ("", True, [(1, b"1")])
        assert not await pair.gateway.streams.end(STREAM, "deleted")
        with pytest.raises(StreamEnded):
            await add(pair, b"2")


async def test_each_frame_gives_it_its_time_anew(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=1.0) as pair:
        await pair.gateway.streams.begin(STREAM, b"")
        for number in range(1, 6):
            await asyncio.sleep(0.3)  # time itself is what is tested
            assert await add(pair, b"frame") == [number]
        assert not (await view(pair)).over


async def test_it_is_forgotten_in_the_end(open_pair: OpenPair, monkeypatch: pytest.MonkeyPatch) -> None:
    for adapter in ("memory.streams", "redis.streams"):
        monkeypatch.setattr(f"shared.adapters.{adapter}.LINGER_SECONDS", 0.1)
    async with open_pair(session_seconds=0.1, stream_frame_seconds=0.1) as pair:
        await pair.gateway.streams.begin(STREAM, b"")
        await add(pair, b"1")

        async def is_gone() -> bool:
            return await pair.worker.streams.read(STREAM, 0) is None

        await until(is_gone)


async def test_closing_the_store_ends_who_follows(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        await pair.gateway.streams.begin(STREAM, b"")
        frames = pair.worker.streams.follow(STREAM, 0)
        await frames.__aenter__()
        following = asyncio.ensure_future(anext(frames))  # type: ignore[call-overload]
        await asyncio.sleep(0)
    async with asyncio.timeout(SOON_S):
        with pytest.raises(StoreAway):
            await following


@pytest.mark.parametrize("open_pair", ["redis"], indirect=True)
async def test_nothing_stays_for_ever(open_pair: OpenPair, request: pytest.FixtureRequest, namespace: str) -> None:
    async with open_pair() as pair:
        await pair.gateway.streams.begin(STREAM, b"")
        await add(pair, b"1")
        await pair.gateway.streams.end(STREAM, "finished")
    url = request.getfixturevalue("redis_server").url
    keys = await keys_of(url, namespace)
    assert len(keys) == 2
    async with redis.asyncio.Redis.from_url(url) as client:
        assert all([0 < await client.pttl(key) < 600_000 for key in keys])


async def test_a_lost_connection_is_bridged(own_redis: Server, namespace: str) -> None:
    """Frames that were pushed while nobody listened are read from the list."""
    async with redis_pair(own_redis.url, namespace) as pair, redis.asyncio.Redis.from_url(own_redis.url) as client:
        await pair.gateway.streams.begin(STREAM, b"")
        async with pair.worker.streams.follow(STREAM, 0) as frames:
            await add(pair, b"1")
            assert await numbered(frames, 1) == [(1, b"1")]
            await client.client_kill_filter(_type="pubsub")
            await add(pair, b"2", b"3")
            assert await numbered(frames, 2) == [(2, b"2"), (3, b"3")]
            await add(pair, b"4")
            assert await numbered(frames, 1) == [(4, b"4")]
