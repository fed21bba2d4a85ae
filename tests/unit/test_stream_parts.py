"""Parts of an endless body, however the network cuts it up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp.streams import StreamReader
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.limits import RequestLimits
from gateway.streams.parts import PartReader, StreamPart
from shared.errors import InputTooLarge, MalformedRequest, PerceptionError, RequestTimeout, UnsupportedEncoding

LIMITS = RequestLimits(body_bytes=1000, body_seconds=5.0, body_bytes_per_second=0)


def part(data: bytes, *lines: str, length: object = None, boundary: str = "myboundary") -> bytes:
    header = [f"--{boundary}", f"Content-Length: {len(data) if length is None else length}", *lines]
    return "\r\n".join(header).encode() + b"\r\n\r\n" + data + b"\r\n"


def feed(content: StreamReader, *pieces: bytes) -> None:
    for piece in pieces:
        content.feed_data(piece)


def reader(loop: asyncio.AbstractEventLoop, limits: RequestLimits = LIMITS, idle: float = 5.0) -> tuple[StreamReader, PartReader]:
    content = StreamReader(Mock(_reading_paused=False), 2**16, loop=loop)  # (aiohttp's protocol is only told to pause and go on)
    return content, PartReader(content, b"myboundary", limits, header_bytes=200, idle_seconds=idle)


async def read_all(pieces: Sequence[bytes]) -> tuple[list[StreamPart], bool]:
    content, parts = reader(asyncio.get_running_loop())
    feed(content, *pieces)
    content.feed_eof()
    found = []
    while (one := await parts.next()) is not None:
        found.append(one)
    return found, parts.finished


@given(st.lists(st.binary(max_size=300), max_size=5), st.lists(st.integers(1, 200), max_size=30), st.booleans(), st.data())
def test_every_way_to_cut_it_up_gives_the_same_parts(frames: list[bytes], cuts: list[int], finished: bool, data: st.DataObject) -> None:
    """Whatever the frames hold, boundaries and line breaks included."""
    frames = [frame + data.draw(st.sampled_from([b"", b"\r\n--myboundary\r\n", b"\r\n--myboundary--", b"\r\n"])) for frame in frames]
    body = b"".join(part(frame, f"X-Angus-Parameters: {json.dumps({'n': n})}") for n, frame in enumerate(frames))
    body += b"--myboundary--" if finished else b""
    pieces, position = [], 0
    for cut in cuts:
        pieces.append(body[position : position + cut])
        position += cut
    pieces.append(body[position:])
    found, ended = asyncio.run(read_all([piece for piece in pieces if piece]))
    assert [one.data for one in found] == frames
    assert [json.loads(one.header[b"x-angus-parameters"])["n"] for one in found] == list(range(len(frames)))
    assert [one.number for one in found] == list(range(1, len(frames) + 1))
    assert ended == finished


async def test_a_frame_is_there_with_its_last_byte() -> None:
    """Not only when the next one begins."""
    content, parts = reader(asyncio.get_running_loop())
    feed(content, part(b"picture")[:-2])
    found = await parts.next()
    assert found is not None
    assert found.data == b"picture"


async def test_what_ffmpeg_writes() -> None:
    """A boundary after each frame, however long before the next, and none that is final."""
    content, parts = reader(asyncio.get_running_loop(), RequestLimits(body_bytes=1000, body_seconds=0.1))
    feed(content, b"--myboundary\r\n")
    for data in (b"abc", b"d"):
        waiting = asyncio.create_task(parts.next())
        await asyncio.sleep(0.15)  # longer than a part may take
        feed(content, b"Content-type: image/jpeg\r\n", b"Content-length: %d\r\n\r\n" % len(data), data, b"\r\n--myboundary\r\n")
        found = await waiting
        assert found is not None
        assert found.data == data
    content.feed_eof()
    assert await parts.next() is None
    assert not parts.finished


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"hello, this is no body of parts", MalformedRequest, "does not begin with its boundary"),
        (part(b"abc", boundary="other"), MalformedRequest, "does not begin"),
        (b"--myboundary", MalformedRequest, "ended within part 1"),
        (b"--myboundary\r\nContent-Le", MalformedRequest, "ended within part 1"),
        (b"--myboundary" + b" " * 200, MalformedRequest, "not followed by the end of its line"),
        (part(b"abc") + b"--mybou", MalformedRequest, "ended within part 2"),
        (part(b"abc")[:-4], MalformedRequest, "ended within part 1"),
        (part(b"abcdef", length=3) + part(b"x"), MalformedRequest, "No boundary follows part 1"),
        (part(b"abc", length=6) + part(b"x"), MalformedRequest, "No boundary follows part 1"),
        (part(b"abc", length="many"), MalformedRequest, "Part 1 needs a Content-Length"),
        (part(b"abc", length="-3"), MalformedRequest, "Part 1 needs a Content-Length"),
        (part(b"abc", length="9" * 30), MalformedRequest, "Part 1 needs a Content-Length"),
        (b"--myboundary\r\n\r\nabc\r\n", MalformedRequest, "Part 1 needs a Content-Length"),
        (part(b"abc") + part(b"x" * 1001), InputTooLarge, "Part 2 is beyond the limit of 1000 bytes"),
        (part(b"abc", "Content-Length: 3"), MalformedRequest, "header of part 1 is not well-formed"),
        (part(b"abc", "no colon"), MalformedRequest, "header of part 1 is not well-formed"),
        (part(b"abc", "Bad name: x"), MalformedRequest, "header of part 1 is not well-formed"),
        (part(b"abc", "X: " + "y" * 10_000), MalformedRequest, "has no end within"),
        (b"--myboundaryX\r\nContent-Length: 1\r\n\r\na\r\n", MalformedRequest, "not followed by the end of its line"),
        (part(b"abc", "Content-Encoding: gzip"), UnsupportedEncoding, "Part 1 is compressed"),
    ],
)
async def test_what_is_wrong_is_said_with_the_part(body: bytes, error: type[PerceptionError], words: str) -> None:
    with pytest.raises(error) as caught:
        await read_all([body])
    assert words in caught.value.message


async def test_a_header_without_an_end_is_not_gathered_for_ever() -> None:
    content, parts = reader(asyncio.get_running_loop())
    feed(content, b"--myboundary\r\n", *[b"X: y"] * 5000)
    with pytest.raises(MalformedRequest, match="has no end"):
        await parts.next()


@pytest.mark.parametrize(
    ("pieces", "limits", "words"),
    [
        ([], {}, "No part began within 0.05 seconds"),
        ([part(b"abc"), b"\r\n"], {}, "No part began within 0.05 seconds"),
        ([b"--mybound"], {"body_seconds": 0.05}, "No part began within 0.05 seconds"),
        ([b"--myboundary\r\nCon"], {"body_seconds": 0.05}, "Part 1 came too slowly: 0.05 seconds"),
        ([part(b"abc"), part(b"abc")[:-4]], {"body_seconds": 0.05}, "Part 2 came too slowly"),
        ([part(b"abc")[:-4]], {"body_bytes_per_second": 10_000, "grace_seconds": 0.05}, "at least 10000 bytes a second"),
    ],
)
async def test_a_slow_sender_is_told(pieces: list[bytes], limits: dict[str, Any], words: str) -> None:
    given_limits = RequestLimits(**{"body_bytes": 1000, "body_seconds": 5.0, "body_bytes_per_second": 0, **limits})
    content, parts = reader(asyncio.get_running_loop(), given_limits, 0.05 if "began" in words else 5.0)
    feed(content, *pieces)
    for _ in pieces[:-1]:
        assert await parts.next() is not None
    with pytest.raises(RequestTimeout) as caught:
        await asyncio.wait_for(parts.next(), 5)
    assert words in caught.value.message
