"""Streams of frames: make one, send frames and read answers as multipart bodies or over a WebSocket, end it."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import hdrs, web

from gateway.http.middleware import COMMON_HEADERS
from gateway.http.parsing import read_document
from gateway.jobs.background import closing_message
from gateway.jobs.requests import read_envelope
from gateway.routes.services import json_response
from gateway.state import GATE, Gate, base_url, service_of
from gateway.streams.access import (
    DELETED,
    FINISHED,
    About,
    FrameStream,
    after_of,
    end_of,
    find_going,
    find_stream,
    make_ticket,
    options_of,
    redeem_ticket,
    refuse_foreign_page,
    session_of,
    stream_owner,
)
from gateway.streams.answers import Answers, told
from gateway.streams.hub import first_of, give_up
from gateway.streams.intake import Intake
from gateway.streams.multipart import CONTENT_TYPE, parts_of, read_parts, write_last_part, write_parts
from gateway.streams.websocket import close_socket, new_socket, read_messages, write_messages
from shared import metrics
from shared.errors import InputTooLarge, Unavailable
from shared.jobs import Turn, session_key
from shared.log import get_logger

log = get_logger(__name__)
#: Keys of what makes a stream that are no parameters of its frames.
_OF_THE_STREAM = frozenset({"async", "state", "stream"})


async def create(request: web.Request) -> web.Response:
    """``POST …/streams``: where its frames go and its answers come from."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    service = service_of(request, tenant)
    given = (await read_document(request, gate.limits)).parameters
    envelope = read_envelope(given)
    options = options_of(given.get("stream", {}))
    await gate.availability.require(service)
    stream_id = gate.ids.make(stream_owner(tenant.id, service), synchronous=True)
    about = About(parameters=_of_frames(given), session_id=session_of(envelope.state, stream_id), options=options)
    encoded = orjson.dumps(about.model_dump())
    most = gate.settings.stream_parameters_bytes
    if len(encoded) > most:
        raise InputTooLarge(f"The parameters of a stream are beyond the limit of {most} bytes; samples go into blobs")
    await gate.stores.streams.begin(stream_id, encoded)
    stream = FrameStream(stream_id, tenant, service, base_url(request), about)
    return json_response({"status": 201, **_addresses(gate, stream)}, 201, {"Location": stream.url})


async def entrance(request: web.Request) -> web.StreamResponse:
    """``GET …/streams/{id}``: a WebSocket if one is asked for, otherwise how the stream is."""
    if request.headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket":
        return await _converse(request)
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    stream, view = await find_stream(request, tenant)
    body = {"status": 200, **_addresses(gate, stream), "frames": view.count, "ended": view.over}
    return json_response({**body, "reason": end_of(view, gate).message} if view.over else body)


async def delete(request: web.Request) -> web.Response:
    """``DELETE …/streams/{id}``: ends it, and its session. 204."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    stream, _ = await find_stream(request, tenant)
    await _end(gate, stream, DELETED)
    return web.Response(status=204)


async def send(request: web.Request) -> web.Response:
    """``POST …/streams/{id}/input``: frames, as the parts of a body that may go on for as long as the sender likes."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    stream, _ = await find_going(request, tenant)
    parts = parts_of(request)
    with gate.streams.connection("input"):
        intake = Intake(gate, stream)
        reader = asyncio.create_task(read_parts(request, parts, intake))
        try:
            error = await first_of(reader, intake.broken, gate.streams.stopping)
        finally:
            await give_up(reader)
            await intake.settle()
        if error is not None:
            metrics.STREAM_CLOSED.labels(error.code).inc()
            raise error
        if parts.finished:
            await _end(gate, stream, FINISHED)
    return json_response({"url": stream.url, "status": 200, "frames": intake.accepted, "dropped": intake.dropped})


async def receive(request: web.Request) -> web.StreamResponse:
    """``GET …/streams/{id}/output``: answers, as the parts of a body that ends with the stream."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    stream, view = await find_stream(request, tenant)
    after = after_of(request, view, 0)
    with gate.streams.connection("output"):
        response = web.StreamResponse(headers={**COMMON_HEADERS, hdrs.CONTENT_TYPE: CONTENT_TYPE})
        await response.prepare(request)
        try:
            async with Answers(gate, stream, after) as answers:
                writer = asyncio.create_task(write_parts(answers, response))
                error = await told(request, stream, answers, writer)
            await write_last_part(request, response, error)
        except ConnectionError:
            log.debug("stream.reader_gone", service=stream.service.name)
    return response


async def _converse(request: web.Request) -> web.StreamResponse:
    """The stream in both directions over a WebSocket."""
    gate = request.app[GATE]
    refuse_foreign_page(request, gate)
    ticket = request.query.get("ticket")
    tenant = await redeem_ticket(request, ticket) if ticket is not None else await gate.authenticate(request)
    stream, view = await find_going(request, tenant)
    after = after_of(request, view, view.count)
    with gate.streams.connection("websocket"):
        socket = new_socket(gate.settings)
        intake = Intake(gate, stream)  # before its client hears that it is connected, and may connect again
        await socket.prepare(request)
        try:
            async with Answers(gate, stream, after) as answers:
                reader = asyncio.create_task(read_messages(request, socket, intake, checked=ticket is None))
                writer = asyncio.create_task(write_messages(answers, socket))
                try:
                    error = await told(request, stream, answers, writer, reader, intake.broken)
                finally:
                    await give_up(reader)
            await close_socket(request, socket, error)
        except ConnectionError:
            log.debug("stream.reader_gone", service=stream.service.name)
    return socket


def _of_frames(given: dict[str, Any]) -> dict[str, Any]:
    """Of what a stream is made with, the parameters of its frames."""
    return {name: value for name, value in given.items() if name not in _OF_THE_STREAM}


def _addresses(gate: Gate, stream: FrameStream) -> dict[str, str]:
    """Where the stream is reached, and what lets a page open its WebSocket."""
    return {
        "url": stream.url,
        "input": f"{stream.url}/input",
        "output": f"{stream.url}/output",
        "websocket": "ws" + stream.url.removeprefix("http"),
        "ticket": make_ticket(gate, stream),
    }


async def _end(gate: Gate, stream: FrameStream, reason: str) -> None:
    """End the stream, and its session with a job that closes it, as one does that fell silent."""
    if not await gate.stores.streams.end(stream.id, reason) or stream.service.state_type is None:
        return
    sessions = gate.stores.sessions
    key = session_key(stream.tenant.id, stream.service.name, stream.service.version, stream.about.session_id)
    if not (await sessions.load(key)).numbered:
        return
    turn = Turn(key, await sessions.number(key), closing=True)
    try:
        await gate.broker.publish(closing_message(gate.ids, turn, gate.settings))
    except Unavailable as error:
        log.warning("stream.session_not_closed", code=error.code)  # it falls silent, and is closed then
        await sessions.save(Turn(key, turn.number), None, None, None)


_STREAMS = "/services/{name}/{version}/streams"
ROUTES = [
    web.post(_STREAMS, create),
    web.get(_STREAMS + "/{id}", entrance, allow_head=False),
    web.delete(_STREAMS + "/{id}", delete),
    web.post(_STREAMS + "/{id}/input", send),
    web.get(_STREAMS + "/{id}/output", receive, allow_head=False),
]
