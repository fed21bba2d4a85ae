"""``POST /v1/audio/speech`` as OpenAI's clients send it: a text in, sound out while it is being made.

Credentials are a stream's, ``client_id:access_token``, as Basic or (which is what those clients send their API key as) as Bearer.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Literal

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.http.middleware import RETRY_AFTER_SECONDS
from gateway.http.parsing import Document, read_document
from gateway.http.problem import RETRY_AFTER, problem_response, status_of
from gateway.jobs.requests import Request, read_envelope
from gateway.state import GATE, base_url
from gateway.streams.sound import PCM, WAV, PieceReader, send_sound, stop_unheard, stops_unheard
from shared.errors import DeadlineExceeded, NotFound, PerceptionError
from shared.events import Chunk, Done, Failed
from workers.contract import invalid_parameter

SERVICE, VERSION = "text_to_speech", 1
#: Samples a second of the format ``pcm``, which has no header to say it: what those clients play it at.
PCM_RATE = 24_000
DEFAULT_LANGUAGE = "en-US"
#: Voices of OpenAI's own, for which the voice of the language speaks here.
FOREIGN_VOICES = frozenset(
    ["alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse"]
)


class SpeechRequest(BaseModel):
    """The body. Keys that are not here (``instructions`` …) are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    input: str = Field(min_length=1, description="The text")
    model: str = Field(min_length=1, max_length=100, description="`espeak` for the engine of this name; any other: the best voice there is")
    voice: str = Field(min_length=1, max_length=100, description="A voice of the service text_to_speech, or one of OpenAI's names")
    response_format: Literal["wav", "pcm"] = Field(
        "wav", description="pcm: 16 bit, little endian, mono, 24,000 Hz, without a header. Other formats are not made here."
    )
    speed: float = Field(1.0, ge=0.25, le=4, description="How fast, 1 is the voice's own speed")
    stream_format: Literal["audio"] = Field("audio", description="The body is the sound")
    lang: str | None = Field(None, max_length=40, description="Beyond OpenAI's form: the language, by default the voice's, or en-US")

    def parameters(self) -> dict[str, Any]:
        """Those of the service."""
        given: dict[str, Any] = {"text": self.input, "stream": True}
        if self.speed != 1:
            given["speed"] = self.speed
        if self.response_format == "pcm":
            given["rate"] = PCM_RATE
        if self.model == "espeak":
            given["engine"] = "espeak"
        if self.voice not in FOREIGN_VOICES:
            given["voice"] = self.voice
        if self.lang is not None or self.voice in FOREIGN_VOICES:
            given["lang"] = self.lang or DEFAULT_LANGUAGE
        return given


async def speak(request: web.Request) -> web.StreamResponse:
    """The sound (200), or an error in the form that those clients read."""
    try:
        return await _speak(request)
    except PerceptionError as error:
        return _refusal(error, request.app.get(RETRY_AFTER_SECONDS, RETRY_AFTER))


async def _speak(request: web.Request) -> web.StreamResponse:
    gate = request.app[GATE]
    tenant = await gate.authenticate(request, _as_basic(request.headers.get(hdrs.AUTHORIZATION)))
    service = gate.offers.of(tenant).get((SERVICE, VERSION))
    if service is None:
        raise NotFound("speech is not offered here")
    wanted = _validated((await read_document(request, gate.limits)).parameters)
    job = Request(tenant, service, Document(wanted.parameters()), base_url(request))
    async with gate.submitter.submit(job, read_envelope({}), synchronous=True) as submitted:
        reader = PieceReader(request, submitted.events, gate.settings.hold_seconds)
        results = gate.stores.results
        async with stops_unheard(results, submitted, reader):
            first = await reader.next()
            if isinstance(first, Chunk | Done):
                form = PCM if wanted.response_format == "pcm" else WAV
                return await send_sound(request, first, reader, form, 200, submitted.fields)
        if first is None and not reader.left:
            # The caller is not told of the job, and cannot come back for it.
            await stop_unheard(results, submitted, "nothing was said in time")
    raise first.error() if isinstance(first, Failed) else DeadlineExceeded("nothing was said in time")


def _as_basic(header: str | None) -> str | None:
    """The same credentials as the rest of the gateway reads them (RFC 7617)."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer":
        return header
    return "Basic " + b64encode(token.strip().encode("utf-8", "surrogateescape")).decode()


def _validated(parameters: dict[str, Any]) -> SpeechRequest:
    """Raises `InvalidParameter`."""
    try:
        return SpeechRequest.model_validate(parameters)
    except ValidationError as error:
        raise invalid_parameter(error) from None


def _refusal(error: PerceptionError, retry_after: float) -> web.Response:
    """With the status and the fields of our problems, and the body of OpenAI's."""
    response = problem_response(error, retry_after=retry_after)
    kind = "server_error" if status_of(error.code) >= 500 else "invalid_request_error"
    told = {"message": error.message, "type": kind, "param": error.parameter, "code": error.code}
    response.body = orjson.dumps({"error": told})
    response.content_type = "application/json"
    return response


ROUTES = [web.post("/v1/audio/speech", speak)]
