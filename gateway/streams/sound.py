"""Answers whose body is sound that is still being made: WAV or bare samples, in chunks."""

from __future__ import annotations

import asyncio
import base64
import io
import struct
import time
import wave
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from gateway.http.middleware import COMMON_HEADERS
from gateway.http.server import ends_with_client
from gateway.jobs.submit import Submitted
from shared import metrics
from shared.errors import Cancelled, ServiceFailed, StoreAway
from shared.events import Chunk, Done, Event, Failed
from shared.log import get_logger
from shared.pieces import Pieces
from shared.ports import Entry, ResultStore

log = get_logger(__name__)

#: What a WAV file says whose length is not known yet; players read on to the end (as FFmpeg and SoX write it into pipes).
_UNKNOWN = 0xFFFFFFFF
_WAV_TYPES = frozenset({"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"})


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """The form of the body. ``header``: whether a WAV header goes before the samples (PCM, 16 bit, little endian, mono)."""

    content_type: str
    header: bool


WAV = SoundFormat("audio/wav", header=True)
PCM = SoundFormat("audio/pcm", header=False)


def accepts_sound(accept: str) -> bool:
    """Whether an Accept field (RFC 9110, 12.5.1) wants WAV, and rather than JSON."""
    weights = dict(_range(part) for part in accept.split(","))
    sound = max((weight for kind, weight in weights.items() if kind in _WAV_TYPES), default=0.0)
    return sound > 0 and sound >= weights.get("application/json", 0.0)


def _range(part: str) -> tuple[str, float]:
    """The media type and weight of one element of an Accept field; one that is malformed has no weight."""
    kind, *parameters = (word.strip().lower() for word in part.split(";"))
    weight = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        return kind, min(max(float(weight), 0.0), 1.0)
    except ValueError:
        return kind, 0.0


class PieceReader:
    """The pieces of a job's answer as they come, and its end. ``seconds``: longest wait for the next one."""

    def __init__(self, request: web.Request, events: AsyncIterator[tuple[int, Event]], seconds: float) -> None:
        self._request, self._events, self._seconds = request, aiter(events), seconds
        self._pieces = Pieces()

        #: Whether the job's final event came.
        self.ended = False

    @property
    def left(self) -> bool:
        """Whether the client has gone."""
        return self._request.transport is None or self._request.transport.is_closing()

    async def next(self) -> Event | None:
        """The next piece or the job's final event; None when neither came in time, or the client left."""
        metrics.WAITERS.inc()
        try:
            async with asyncio.timeout(self._seconds) as limit:
                with ends_with_client(self._request, limit):
                    async for _, event in self._events:
                        if event.final or (isinstance(event, Chunk) and self._pieces.is_news(event)):
                            self.ended = event.final
                            return event
        except TimeoutError:
            pass
        finally:
            metrics.WAITERS.dec()
        return None


@asynccontextmanager
async def stops_unheard(results: ResultStore, submitted: Submitted, reader: PieceReader) -> AsyncIterator[None]:
    """A client that leaves within the block, before the end of the job, stops it."""
    try:
        yield
    finally:
        if reader.left and not reader.ended:
            await stop_unheard(results, submitted, "the client left")


async def stop_unheard(results: ResultStore, submitted: Submitted, reason: str) -> None:
    """End a job that nobody listens to any more: its worker stops at the next piece.

    One whose end others wait for, by its Idempotency-Key or its webhook, goes on.
    """
    log.info("sound.unheard", job=submitted.job_id, reason=reason, goes_on=submitted.expected)
    if submitted.expected:
        return
    try:
        await results.append([Entry(submitted.job_id, Failed.of(Cancelled(), time.time()))])
    except StoreAway:
        # It ends by itself, at its deadline at the latest.
        log.warning("sound.not_stopped", job=submitted.job_id)


async def send_sound(
    request: web.Request, first: Event, reader: PieceReader, form: SoundFormat, status: int, fields: Mapping[str, str]
) -> web.StreamResponse:
    """Send what ``first`` (a `Chunk` or a `Done`) and the events after it bring.

    Raises `ConnectionResetError` when the client left. An answer that fails half-way ends without the last chunk of its
    body, which is how HTTP says that something is missing.
    """
    _, rate = _samples(first)
    headers = {**COMMON_HEADERS, **fields, hdrs.CONTENT_TYPE: form.content_type, "X-Sample-Rate": str(rate)}
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    gap = await _send_pieces(response, first, reader, form)
    if gap is None:
        await response.write_eof()
        return response
    if reader.left:
        raise ConnectionResetError("the client left")
    log.warning("sound.cut", reason=gap)
    if request.transport is not None:
        request.transport.abort()
    return response


async def _send_pieces(response: web.StreamResponse, first: Event, reader: PieceReader, form: SoundFormat) -> str | None:
    """Why the sound is not whole, if it is not."""
    samples, rate = _samples(first)
    voice = _voice(first)
    await response.write(_wav_header(rate) + samples if form.header else samples)
    event: Event | None = first
    while isinstance(event, Chunk):
        event = await reader.next()
        if isinstance(event, Chunk):
            try:
                samples, piece_rate = _samples(event)
            except ServiceFailed as error:
                return error.message
            if (piece_rate, _voice(event)) != (rate, voice):
                return "another worker took over that speaks with another voice"
            await response.write(samples)
    if isinstance(event, Done):
        return None
    return "no next piece" if event is None else type(event).__name__


def _samples(event: Event) -> tuple[bytes, int]:
    """The samples of a piece, or of a whole answer, and their rate in Hz. Raises `ServiceFailed`."""
    data: Mapping[str, Any] = event.data if isinstance(event, Chunk) else event.result if isinstance(event, Done) else {}
    try:
        with wave.open(io.BytesIO(zlib.decompress(base64.b64decode(data["sound"])))) as file:
            return file.readframes(file.getnframes()), file.getframerate()
    except (KeyError, TypeError, ValueError, zlib.error, wave.Error, EOFError) as error:
        raise ServiceFailed("the answer holds no sound") from error


def _voice(event: Event) -> object:
    data: Mapping[str, Any] = event.data if isinstance(event, Chunk) else event.result if isinstance(event, Done) else {}
    return data.get("voice")


def _wav_header(rate: int) -> bytes:
    """RIFF, mono, PCM 16 bit, of a length that is not known."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", _UNKNOWN, b"WAVE") + form + struct.pack("<4sI", b"data", _UNKNOWN)
