"""What every answer of the application has in common: errors as problems, protective headers, counted and timed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import hdrs, web

from gateway.http.problem import CONTENT_TYPE, RETRY_AFTER, problem_response
from shared import trace
from shared.errors import InputTooLarge, MalformedRequest, MethodNotAllowed, NotFound, PerceptionError, RequestTimeout, ServiceFailed
from shared.errors import UnsupportedEncoding as UnsupportedType
from shared.log import get_logger
from shared.metrics import REQUEST_SECONDS, REQUESTS

log = get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: On every answer. A handler that begins to send its answer itself (a stream) has to set them before.
COMMON_HEADERS = {"X-Content-Type-Options": "nosniff", hdrs.CACHE_CONTROL: "no-store"}
#: Makes of a problem what a browser shows; the same problem where no person is looking. A face of pages puts it into the application.
ErrorPages = Callable[[web.Request, web.Response], Awaitable[web.Response]]
ERROR_PAGES: web.AppKey[ErrorPages] = web.AppKey("error_pages", Callable)  # type: ignore[arg-type]
#: Retry-After of answers that cannot estimate it.
RETRY_AFTER_SECONDS: web.AppKey[int] = web.AppKey("retry_after_seconds", int)
#: What is counted for a request whose client did not stay for the answer; nobody gets it.
CLIENT_LEFT = 499
_UNMATCHED = "unmatched"
_OF_STATUS: dict[int, type[PerceptionError]] = {
    404: NotFound,
    405: MethodNotAllowed,
    408: RequestTimeout,
    413: InputTooLarge,
    415: UnsupportedType,
}


class _Counter(Protocol):
    def inc(self) -> None: ...


class _Histogram(Protocol):
    def observe(self, amount: float) -> None: ...


class _Tally:
    """Counts answers by route pattern, method and status. Looking a labelled metric up is slow, so they are kept."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str, int], _Counter] = {}
        self._histograms: dict[str, _Histogram] = {}

    def count(self, request: web.Request, status: int, seconds: float) -> None:
        resource = request.match_info.route.resource
        route = _UNMATCHED if resource is None else resource.canonical
        key = (route, request.method, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = REQUESTS.labels(route, request.method, str(status))
            self._histograms[route] = REQUEST_SECONDS.labels(route)
        counter.inc()
        self._histograms[route].observe(seconds)


_tally = _Tally()


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Around every handler of the application."""
    start = time.perf_counter()
    with trace.span(request.method, request.headers.get("traceparent")) as span:
        response = await _answer(request, handler)
        if span is not None:
            _describe(span, request, response.status)
    _tally.count(request, response.status, time.perf_counter() - start)
    return response


def _describe(span: Any, request: web.Request, status: int) -> None:
    """By the conventions of OpenTelemetry; the route's pattern, never the path."""
    resource = request.match_info.route.resource
    route = _UNMATCHED if resource is None else resource.canonical
    span.update_name(f"{request.method} {route}")
    span.set_attributes({"http.request.method": request.method, "http.route": route, "http.response.status_code": status})


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except PerceptionError as error:
        response = problem_response(error, retry_after=request.app.get(RETRY_AFTER_SECONDS, RETRY_AFTER))
    except web.HTTPException as answer:
        response = _of_http_exception(answer)
    except Exception as error:  # noqa: BLE001 - whatever it was, the client learns nothing of it
        left = isinstance(error, ConnectionResetError) and (request.transport is None or request.transport.is_closing())
        response = web.Response(status=CLIENT_LEFT) if left else _of_surprise(request, error)
    if not response.prepared:
        pages = request.app.get(ERROR_PAGES)
        if pages is not None and isinstance(response, web.Response) and response.content_type == CONTENT_TYPE:
            response = await pages(request, response)
        for name, value in COMMON_HEADERS.items():
            response.headers.setdefault(name, value)
        if not request.content.is_eof():
            response.force_close()  # the rest of the body is of no interest to anybody
    return response


def _of_http_exception(answer: web.HTTPException) -> web.Response:
    """aiohttp raises its answers; redirects stay what they are."""
    if answer.status < 400:
        raise answer
    if answer.status >= 500:
        return problem_response(ServiceFailed("The server failed on this request"))
    response = problem_response(_OF_STATUS.get(answer.status, MalformedRequest)())
    if hdrs.ALLOW in answer.headers:
        response.headers[hdrs.ALLOW] = answer.headers[hdrs.ALLOW]
    return response


def _of_surprise(request: web.Request, error: Exception) -> web.Response:
    reference = secrets.token_hex(8)
    resource = request.match_info.route.resource
    log.error(
        "request.failed",
        reference=reference,
        method=request.method,
        route=_UNMATCHED if resource is None else resource.canonical,
        exc_info=error,
    )
    return problem_response(ServiceFailed(f"The server failed on this request; its log has the reason under {reference}"))
