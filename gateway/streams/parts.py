"""The parts of a ``multipart/x-mixed-replace`` body as they arrive: a frame each, for as long as the sender likes.

Each part says its length, so nothing is searched for in the bytes of a picture, and a frame is handed over as soon as its
last byte is there. A part has a time and a rate to keep to (those of a whole body elsewhere); the body as a whole has not.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web
from aiohttp.streams import StreamReader

from gateway.http.limits import RequestLimits
from shared.errors import InputTooLarge, MalformedRequest, RequestTimeout, UnsupportedEncoding

#: A part's header without its parameters, which have a limit of their own.
HEADER_BYTES = 8192
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")
_BLANK = b"\r\n"
#: A boundary's line may be padded with so many blanks.
_LINE_BYTES = 128


@dataclass(frozen=True, slots=True)
class StreamPart:
    """One part. ``number`` counts from 1 in its body; names in ``header`` are in lower case."""

    number: int
    header: Mapping[bytes, bytes]
    data: bytes


class PartReader:
    """Reads one body, part by part."""

    def __init__(self, content: StreamReader, boundary: bytes, limits: RequestLimits, *, header_bytes: int, idle_seconds: float) -> None:
        """``idle_seconds``: how long the sender may pause before a part begins."""
        self._content, self._limits, self._idle_seconds = content, limits, idle_seconds
        self._delimiter = b"--" + boundary
        self._header_bytes = HEADER_BYTES + header_bytes
        self._buffer = bytearray()
        self._number = 0
        self._open = False  # whether a boundary was read, and not yet the part after it
        #: Whether the body ended with its final boundary, as opposed to just ending.
        self.finished = False

    async def next(self) -> StreamPart | None:
        """The next part, or None at the end of the body.

        Raises `MalformedRequest`, `InputTooLarge`, `UnsupportedEncoding`, or `RequestTimeout`.
        """
        if self.finished or not await self._begins():
            return None
        start = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(start + self._limits.due(0)) as patience:
                header = await self._read_header()
                data = await self._read_data(self._length(header), patience, start)
        except TimeoutError:
            raise RequestTimeout(f"Part {self._number} came too slowly: {self._pace()}") from None
        self._open = False
        return StreamPart(self._number, header, data)

    async def _begins(self) -> bool:
        """Whether another part follows, once its first byte is there: some senders write a boundary long before the part."""
        try:
            async with asyncio.timeout(self._idle_seconds):
                while not self._is_past_boundary():
                    if self.finished:
                        return False
                    if not await self._more():
                        if self._buffer in (bytearray(), bytearray(b"\r")):
                            return False
                        raise MalformedRequest(f"The body ended within part {self._number + 1}")
        except TimeoutError:
            raise RequestTimeout(f"No part began within {self._idle_seconds:g} seconds") from None
        self._number += 1
        return True

    def _is_past_boundary(self) -> bool:
        """Take line breaks and a boundary out of the buffer; whether something of a part is there."""
        buffer, length = self._buffer, len(self._delimiter)
        while not self._open and buffer.startswith(_BLANK):
            del buffer[:2]
        if self._open or len(buffer) < length + 2:
            return self._open and bool(buffer)
        if not buffer.startswith(self._delimiter):
            if not self._number:
                raise MalformedRequest("The body does not begin with its boundary")
            raise MalformedRequest(f"No boundary follows part {self._number}: its Content-Length is not the number of its bytes")
        if buffer.startswith(b"--", length):
            self.finished = True
            return False
        end = buffer.find(_BLANK, length, length + _LINE_BYTES)
        if buffer[length : end if end >= 0 else None].strip(b" \t\r") or (end < 0 and len(buffer) > length + _LINE_BYTES):
            raise MalformedRequest(f"The boundary of part {self._number + 1} is not followed by the end of its line")
        if end >= 0:
            del buffer[: end + 2]
            self._open = True
        return self._open and bool(buffer)

    async def _read_header(self) -> Mapping[bytes, bytes]:
        """The fields of the part's header."""
        while not self._buffer.startswith(_BLANK):
            end = self._buffer.find(b"\r\n\r\n", 0, self._header_bytes)
            if end >= 0:
                lines = bytes(self._buffer[:end]).split(_BLANK)
                del self._buffer[: end + 4]
                return self._fields(lines)
            if len(self._buffer) >= self._header_bytes:
                raise MalformedRequest(f"The header of part {self._number} has no end within {self._header_bytes} bytes")
            await self._require_more()
        return {}

    def _fields(self, lines: list[bytes]) -> Mapping[bytes, bytes]:
        fields: dict[bytes, bytes] = {}
        for line in lines:
            match = _HEADER.fullmatch(line)
            if match is None or (name := match[1].lower()) in fields:
                raise MalformedRequest(f"The header of part {self._number} is not well-formed")
            fields[name] = match[2].strip()
        return fields

    def _length(self, header: Mapping[bytes, bytes]) -> int:
        said = header.get(b"content-length", b"")
        if not said.isdigit() or len(said) > 12:
            raise MalformedRequest(f"Part {self._number} needs a Content-Length: the number of its bytes", parameter="Content-Length")
        if int(said) > self._limits.body_bytes:
            raise InputTooLarge(f"Part {self._number} is beyond the limit of {self._limits.body_bytes} bytes")
        if header.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedEncoding(f"Part {self._number} is compressed; send the bytes as they are")
        return int(said)

    async def _read_data(self, length: int, patience: asyncio.Timeout, start: float) -> bytes:
        while len(self._buffer) < length:
            await self._require_more()
            patience.reschedule(start + self._limits.due(len(self._buffer)))
        data = bytes(memoryview(self._buffer)[:length])
        del self._buffer[:length]
        return data

    async def _require_more(self) -> None:
        if not await self._more():
            raise MalformedRequest(f"The body ended within part {self._number}")

    async def _more(self) -> bool:
        """Read what is there; False at the end of the body."""
        try:
            data = await self._content.readany()
        except (web.RequestPayloadError, ConnectionError, RuntimeError) as error:
            # RuntimeError is what aiohttp's stream says when the connection was gone before the read began
            raise MalformedRequest("The request's body is not complete, or not framed as its header says") from error
        self._buffer += data
        return bool(data)

    def _pace(self) -> str:
        rate = self._limits.body_bytes_per_second
        slowest = f"at least {rate} bytes a second and " if rate else ""
        return f"{slowest}{self._limits.body_seconds:g} seconds at most are asked for"
