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

from gateway.limits import RequestLimits
from shared.errors import InputTooLarge, MalformedRequest, RequestTimeout, UnsupportedEncoding

#: A part's header without its parameters, which have a limit of their own.
HEADER_BYTES = 8192
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")
_BLANK = b"\r\n"


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
        #: Whether the body ended with its final boundary, as opposed to just ending.
        self.finished = False

    async def next(self) -> StreamPart | None:
        """The next part, or None at the end of the body.

        Raises `MalformedRequest`, `InputTooLarge`, `UnsupportedEncoding`, or `RequestTimeout`.
        """
        if self.finished or not await self._begins():
            return None
        start = asyncio.get_running_loop().time()
        self._number += 1
        try:
            async with asyncio.timeout_at(start + self._limits.due(0)) as patience:
                header = await self._read_header()
                if header is None:
                    return None
                data = await self._read_data(self._length(header), patience, start)
        except TimeoutError:
            raise RequestTimeout(f"Part {self._number} came too slowly: {self._pace()}") from None
        return StreamPart(self._number, header, data)

    async def _begins(self) -> bool:
        """Whether another part, or the final boundary, follows. Line breaks between parts are skipped."""
        try:
            async with asyncio.timeout(self._idle_seconds):
                while True:
                    while self._buffer.startswith(_BLANK):
                        del self._buffer[:2]
                    if self._buffer and self._buffer != b"\r":
                        return True
                    if not await self._more():
                        return False
        except TimeoutError:
            raise RequestTimeout(f"No part began within {self._idle_seconds:g} seconds") from None

    async def _read_header(self) -> Mapping[bytes, bytes] | None:
        """The fields of the part's header; None for the final boundary."""
        while len(self._buffer) < len(self._delimiter) + 2:
            await self._require_more()
        if not self._buffer.startswith(self._delimiter):
            if self._number == 1:
                raise MalformedRequest("The body does not begin with its boundary")
            raise MalformedRequest(f"No boundary follows part {self._number - 1}: its Content-Length is not the number of its bytes")
        if self._buffer.startswith(b"--", len(self._delimiter)):
            self.finished = True
            return None
        while (end := self._buffer.find(b"\r\n\r\n", len(self._delimiter), self._header_bytes)) < 0:
            if len(self._buffer) >= self._header_bytes:
                raise MalformedRequest(f"The header of part {self._number} has no end within {self._header_bytes} bytes")
            await self._require_more()
        lines = bytes(self._buffer[len(self._delimiter) : end]).split(_BLANK)
        del self._buffer[: end + 4]
        if lines[0].strip(b" \t"):
            raise MalformedRequest(f"The boundary of part {self._number} is not followed by the end of its line")
        return self._fields(lines[1:])

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
