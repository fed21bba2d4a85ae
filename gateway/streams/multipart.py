"""A stream as two multipart bodies: frames in, answers out, in the format of the original API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import hdrs, web

from gateway.http.limits import check_encoding
from gateway.http.multipart import boundary_of
from gateway.http.parsing import parse_object
from gateway.http.problem import problem_body
from gateway.state import GATE
from gateway.streams.answers import LAST_WORD_SECONDS, Answers
from gateway.streams.intake import Frame, Intake
from gateway.streams.parts import PartReader, StreamPart
from shared.errors import InvalidParameter, PerceptionError, UnsupportedEncoding

#: The boundary of answers; clients of the original API look for it.
CONTENT_TYPE = "multipart/x-mixed-replace; boundary=myboundary; charset=utf-8"
_PART = b"--myboundary\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s\r\n"
_END = b"--myboundary--\r\n"
_ACCEPTED = ("multipart/x-mixed-replace", "multipart/mixed")


def parts_of(request: web.Request) -> PartReader:
    """The reader of a request's frames. Raises `UnsupportedEncoding` or `MalformedRequest` for a body that holds none."""
    check_encoding(request)
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    if content_type.partition(";")[0].strip().lower() not in _ACCEPTED:
        raise UnsupportedEncoding("Send multipart/x-mixed-replace; boundary=myboundary with a part for each frame")
    gate = request.app[GATE]
    return PartReader(
        request.content,
        boundary_of(content_type),
        gate.limits,
        header_bytes=gate.settings.stream_parameters_bytes,
        idle_seconds=gate.settings.session_seconds,
    )


async def read_parts(request: web.Request, parts: PartReader, intake: Intake) -> None:
    """Take every frame of the body. Raises what `PartReader.next` raises, and `Unauthorized` once the credentials are void."""
    gate = request.app[GATE]
    while (part := await parts.next()) is not None:
        await gate.authenticate(request)
        await intake.take(_frame_of(part, gate.settings.stream_parameters_bytes))


def _frame_of(part: StreamPart, most: int) -> Frame:
    """What is wrong with its parameters is the answer to this frame; the ones after it are read all the same."""
    parameters: Mapping[str, Any] = {}
    fault: PerceptionError | None = None
    said = part.header.get(b"x-angus-parameters", b"")
    try:
        parameters = parse_object(said, most) if said else {}
    except PerceptionError as error:
        fault = InvalidParameter(f"X-Angus-Parameters of part {part.number}: {error.message}", parameter="X-Angus-Parameters")
    data_field = part.header.get(b"x-angus-datafield", b"").decode("utf-8", "replace")
    return Frame(part.data, parameters, data_field or None, fault)


async def write_parts(answers: Answers, response: web.StreamResponse) -> None:
    """Write answers as they come, to the end of the stream. Raises `ConnectionError` once the reader is gone."""
    while texts := await answers.take():
        await response.write(b"".join(map(as_part, texts)))


async def write_last_part(request: web.Request, response: web.StreamResponse, error: PerceptionError | None) -> None:
    """End the body; what ended it before its time is said in a last part."""
    last = b"" if error is None else as_part(orjson.dumps({**problem_body(error), "stream": {"closed": True}}))
    try:
        async with asyncio.timeout(LAST_WORD_SECONDS):
            await response.write(last + _END)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()


def as_part(text: bytes) -> bytes:
    """A JSON answer as a part. In ASCII, so that clients may count its characters where its bytes are meant."""
    if not text.isascii():
        text = json.dumps(orjson.loads(text), separators=(",", ":")).encode()
    return _PART % (len(text), text)
