"""A stream as a WebSocket: a binary message is a frame, a text message sets the parameters of those after it; answers are text."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from gateway.http.parsing import parse_object
from gateway.http.problem import status_of
from gateway.state import GATE
from gateway.streams.answers import LAST_WORD_SECONDS, Answers
from gateway.streams.intake import Frame, Intake
from shared.errors import InputTooLarge, InvalidParameter, MalformedRequest, PerceptionError, Stopping
from shared.settings import Settings

#: A close code is this and the status of the problem (4408 for a slow reader); a gateway that goes down has a code of its own.
CLOSE_CODES = 4000
#: What a close frame may carry of text, in bytes.
_REASON_BYTES = 123


def new_socket(settings: Settings) -> web.WebSocketResponse:
    """A socket that is not compressed, since pictures are already. A frame that is too large is answered, one far too large is not read."""
    return web.WebSocketResponse(compress=False, max_msg_size=2 * settings.body_bytes, timeout=LAST_WORD_SECONDS)


async def read_messages(request: web.Request, socket: web.WebSocketResponse, intake: Intake, *, checked: bool) -> None:
    """Take every frame until the client closes. ``checked``: its credentials are looked at again with each frame.

    Raises `InputTooLarge` or `MalformedRequest` for a message that is none, and `Unauthorized` once the credentials are void. It
    waits for as long as the stream lasts: one without frames is not long.
    """
    gate = request.app[GATE]
    settings = gate.settings
    parameters: Mapping[str, Any] = {}
    fault: PerceptionError | None = None
    while True:
        message = await socket.receive()
        if message.type is WSMsgType.BINARY:
            if checked:
                await gate.authenticate(request)
            await intake.take(Frame(message.data, parameters, fault=fault or _too_large(message.data, settings)))
        elif message.type is WSMsgType.TEXT:
            parameters, fault = _parameters(message.data, settings.stream_parameters_bytes)
        elif message.type is WSMsgType.ERROR:
            raise _fault_of(socket, settings)
        else:
            return


def _too_large(data: bytes, settings: Settings) -> PerceptionError | None:
    if len(data) <= settings.body_bytes:
        return None
    return InputTooLarge(f"A frame of {len(data)} bytes is beyond the limit of {settings.body_bytes}")


def _parameters(text: str, most: int) -> tuple[Mapping[str, Any], PerceptionError | None]:
    """What is wrong with parameters is the answer to the frames that they are for."""
    try:
        return parse_object(text.encode(), most), None
    except PerceptionError as error:
        return {}, InvalidParameter(f"the parameters in the last text message: {error.message}")


def _fault_of(socket: web.WebSocketResponse, settings: Settings) -> PerceptionError:
    """aiohttp has closed the socket by then; this is for the log and the metrics."""
    if socket.close_code == WSCloseCode.MESSAGE_TOO_BIG:
        return InputTooLarge(f"A frame is beyond the limit of {settings.body_bytes} bytes")
    return MalformedRequest("The client does not keep to the WebSocket protocol")


async def write_messages(answers: Answers, socket: web.WebSocketResponse) -> None:
    """Send answers as they come, to the end of the stream. Raises `ConnectionError` once the reader is gone."""
    while texts := await answers.take():
        for text in texts:
            await socket.send_frame(text, WSMsgType.TEXT)


async def close_socket(request: web.Request, socket: web.WebSocketResponse, error: PerceptionError | None) -> None:
    """Close with a reason, unless the client has closed; one that does not listen is cut off."""
    code, reason = close_code(error), "" if error is None else error.message
    try:
        async with asyncio.timeout(2 * LAST_WORD_SECONDS):
            await socket.close(code=code, message=reason.encode()[:_REASON_BYTES].decode("utf-8", "ignore").encode())
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()


def close_code(error: PerceptionError | None) -> int:
    """The code of a close frame: 1000 for a stream that its sender finished, 1001 when the gateway goes down."""
    if error is None:
        return WSCloseCode.OK
    return WSCloseCode.GOING_AWAY if isinstance(error, Stopping) else CLOSE_CODES + status_of(error.code)
