"""Jobs: make one, look at it, wait for it, follow it, cancel it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from gateway.http.middleware import COMMON_HEADERS
from gateway.http.parsing import Document, read_document
from gateway.http.problem import problem_response
from gateway.http.server import ends_with_client
from gateway.jobs.documents import expired_or_lost, job_document
from gateway.jobs.requests import Request, read_envelope
from gateway.jobs.submit import Submitted
from gateway.routes.services import json_response
from gateway.state import GATE, base_url, service_of
from gateway.streams.sound import WAV, PieceReader, accepts_sound, send_sound, stops_unheard
from shared import metrics
from shared.errors import Cancelled, NotFound
from shared.events import Chunk, Done, Event, Failed
from shared.job_ids import JobRef
from shared.jobs import owner_of
from shared.pieces import Pieces
from shared.ports import Entry
from workers.streaming import StreamingService

#: A comment on an idle event stream, so that proxies keep it open.
_HEARTBEAT_SECONDS = 15.0
_WAIT = re.compile(r"\bwait=(\d{1,6})\b")


async def create(request: web.Request) -> web.StreamResponse:
    """``POST …/jobs``: the result (201) or, for asynchronous and slow jobs, where it will be (202).

    A service that answers in pieces sends sound as its body when it is asked to stream, or for ``Accept: audio/wav``, unless
    ``async`` is true.
    """
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    service = service_of(request, tenant)
    document = await read_document(request, gate.limits)
    envelope = read_envelope(document.parameters)
    hold, preference = _hold(request, envelope.asynchronous, gate.settings.hold_seconds)
    streams = issubclass(service, StreamingService) and _is_streamed(request, document)
    if streams:
        document = replace(document, parameters={**document.parameters, "stream": True})
        hold, preference = (None if envelope.asynchronous else gate.settings.hold_seconds), None
    base = base_url(request)
    wanted = Request(tenant, service, document, base, request.headers.get("Idempotency-Key"))
    async with gate.submitter.submit(wanted, envelope, synchronous=hold is not None) as submitted:
        url = f"{base}/services/{service.name}/{service.version}/jobs/{submitted.job_id}"
        if streams and hold is not None:
            reader = PieceReader(request, submitted.events, hold)
            async with stops_unheard(gate.stores.results, submitted, reader):
                final = await reader.next()
                if isinstance(final, Chunk | Done):
                    return await send_sound(request, final, reader, WAV, 201, {**submitted.fields, "Location": url})
        else:
            final = None if hold is None else await _final(request, submitted.events, hold)
    headers = {**submitted.fields, "Preference-Applied": preference} if preference else dict(submitted.fields)
    if isinstance(final, Failed):
        response = problem_response(final.error(), url=url, retry_after=_retry_after(request))
        response.headers.update(headers)
        return response
    if isinstance(final, Done):
        return json_response(_with_ignored({"url": url, "status": 201, **final.result}, submitted), 201, headers)
    headers |= {"Location": url, "Retry-After": str(_retry_after(request))}
    return json_response(_with_ignored({"url": url, "status": 202}, submitted), 202, headers)


async def read(request: web.Request) -> web.Response:
    """``GET …/jobs/{id}``: 202 while it is not finished, 200 once it is; ``Prefer: wait=n`` waits for it."""
    ref = await _reference(request)
    stores = request.app[GATE].stores
    last = await stores.results.events(ref.id, -1)
    final = last[0] if last and last[0].final else None
    if final is None:
        await _require_news(request, ref, last)
        wait = _WAIT.search(request.headers.get("Prefer", ""))
        if wait is not None:
            async with stores.results.follow(ref.id) as following:
                final = await _final(request, following, min(float(wait.group(1)), request.app[GATE].settings.hold_seconds))
    if final is None:
        return json_response({"url": _url(request, ref), "status": 202}, 202, {"Retry-After": str(_retry_after(request))})
    return json_response(job_document(_url(request, ref), ref, final))


async def cancel(request: web.Request) -> web.Response:
    """``DELETE …/jobs/{id}``: ends a job that has not ended; answers what the job came to."""
    ref = await _reference(request)
    results = request.app[GATE].stores.results
    if not await results.events(ref.id, -1):
        await _require_news(request, ref, ())
    await results.append([Entry(ref.id, Failed.of(Cancelled(), time.time()))])
    (final,) = await results.events(ref.id, -1)
    return json_response(job_document(_url(request, ref), ref, final))


async def events(request: web.Request) -> web.StreamResponse:
    """``GET …/jobs/{id}/events``: server-sent events, from after ``Last-Event-ID`` on; the last carries the job."""
    ref = await _reference(request)
    results = request.app[GATE].stores.results
    if not await results.events(ref.id, -1):
        await _require_news(request, ref, ())
    last = request.headers.get("Last-Event-ID", "")
    seen = int(last) if last.isdecimal() and len(last) < 10 else -1
    response = web.StreamResponse(headers={**COMMON_HEADERS, "Content-Type": "text/event-stream"})
    await response.prepare(request)
    async with results.follow(ref.id) as following:
        url, pieces = _url(request, ref), Pieces()
        async for index, event in _with_heartbeats(following, response):
            if pieces.is_news(event) and index > seen:
                await response.write(_server_sent(index, event, job_document(url, ref, event) if event.final else None))
    await response.write_eof()
    return response


async def _reference(request: web.Request) -> JobRef:
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    service = service_of(request, tenant)
    ref = gate.ids.read(request.match_info["id"], owner_of(tenant.id, service.name, service.version))
    if ref is None:
        raise NotFound("there is no such job")
    return ref


async def _require_news(request: web.Request, ref: JobRef, last: Sequence[Event]) -> None:
    """Raise why a job will say no more, unless ``last`` (its last event, if there is one) ends it or more can come.

    The whole list, which may hold minutes of sound, is read only for a job that looks silent: it may have been requeued.
    """
    gate = request.app[GATE]
    if (last and last[0].final) or expired_or_lost(ref, last, gate.settings) is None:
        return
    error = expired_or_lost(ref, await gate.stores.results.events(ref.id), gate.settings)
    if error is not None:
        raise error


def _is_streamed(request: web.Request, document: Document) -> bool:
    return document.parameters.get("stream") is True or accepts_sound(request.headers.get("Accept", ""))


def _hold(request: web.Request, asynchronous: bool | None, limit: float) -> tuple[float | None, str | None]:
    """(seconds to wait for the result or None, the preference that decided). The body's flag wins over the header."""
    if asynchronous is not None:
        return (None if asynchronous else limit), None
    prefer = request.headers.get("Prefer", "")
    wait = _WAIT.search(prefer)
    if "respond-async" in prefer and wait is None:
        return None, "respond-async"
    if wait is None:
        return None, None
    return min(float(wait.group(1)), limit), f"wait={wait.group(1)}"


async def _final(request: web.Request, following: AsyncIterator[tuple[int, Event]], seconds: float) -> Event | None:
    """The last event of a job, or None when it has not come within the time, or the client left."""
    metrics.WAITERS.inc()
    try:
        async with asyncio.timeout(seconds) as limit:
            with ends_with_client(request, limit):
                async for _, event in following:
                    if event.final:
                        return event
    except TimeoutError:
        pass
    finally:
        metrics.WAITERS.dec()
    return None


async def _with_heartbeats(following: AsyncIterator[tuple[int, Event]], response: web.StreamResponse) -> AsyncIterator[tuple[int, Event]]:
    iterator = aiter(following)
    upcoming = asyncio.ensure_future(anext(iterator, None))
    try:
        while True:
            done, _ = await asyncio.wait({upcoming}, timeout=_HEARTBEAT_SECONDS)
            if not done:
                await response.write(b": waiting\n\n")
                continue
            got = upcoming.result()
            if got is None:
                return
            yield got
            upcoming = asyncio.ensure_future(anext(iterator, None))
    finally:
        upcoming.cancel()


def _server_sent(index: int, event: Event, document: dict[str, Any] | None) -> bytes:
    data = event.encode() if document is None else orjson.dumps(document)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (index, event.type.encode(), data)


def _with_ignored(body: dict[str, Any], submitted: Submitted) -> dict[str, Any]:
    return {**body, "ignored": list(submitted.ignored)} if submitted.ignored else body


def _url(request: web.Request, ref: JobRef) -> str:
    info = request.match_info
    return f"{base_url(request)}/services/{info['name']}/{info['version']}/jobs/{ref.id}"


def _retry_after(request: web.Request) -> int:
    return request.app[GATE].settings.retry_after_seconds


ROUTES = [
    web.post("/services/{name}/{version}/jobs", create),
    web.get("/services/{name}/{version}/jobs/{id}", read),
    web.delete("/services/{name}/{version}/jobs/{id}", cancel),
    web.get("/services/{name}/{version}/jobs/{id}/events", events),
]
