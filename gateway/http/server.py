"""The HTTP server before the application: slow, many and broken connections end here.

aiohttp sets no limit to the time a header may take or to the connections of one address, and answers broken requests in
plain text, and goes on waiting for clients that left; the subclasses below mend that. They read three private fields of `RequestHandler` (``_waiter``, ``_messages``,
``_upgraded``) for want of a hook; `tests/contract/test_http_limits.py` proves each limit with raw sockets, so a release
of aiohttp that changes them is noticed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

from aiohttp import hdrs, web
from aiohttp.streams import StreamReader

from gateway.http.limits import RequestLimits, TrustedProxies, check_header, peer_address
from gateway.http.problem import problem_response
from shared.errors import MalformedRequest, PerceptionError, ServiceFailed
from shared.log import get_logger
from shared.metrics import CONNECTIONS
from shared.settings import Settings

log = get_logger(__name__)

#: Bounds of a request's header: the request line and each header field in bytes, and the number of fields.
LINE_BYTES = 8190
FIELD_BYTES = 8190
FIELDS = 64
#: After a refusal the connection is read for this long before it is closed, or the client would lose the answer to a
#: TCP reset while it is still sending.
LINGER_SECONDS = 2.0


class ConnectionGuard:
    """Counts connections by address, and holds the times that each of them has to keep."""

    def __init__(self, settings: Settings) -> None:
        self.header_seconds = settings.header_seconds
        self._most = settings.connections_per_address
        self._trusted = TrustedProxies(settings.trusted_proxies)
        self._open: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count a new connection; False when its address has as many as it may. Local sockets have no address."""
        if address and self._open[address] >= self._most and address not in self._trusted:
            return False
        self._open[address] += 1
        CONNECTIONS.inc()
        return True

    def release(self, address: str) -> None:
        CONNECTIONS.dec()
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


class GuardedHandler(web.RequestHandler):
    """One connection that has to say what it wants in time."""

    __slots__ = ("_address", "_body", "_guard", "_header_timer", "_waiting")

    def __init__(self, manager: web.Server, guard: ConnectionGuard, **options: Any) -> None:
        super().__init__(manager, **options)
        self._guard = guard
        self._address: str | None = None
        self._body: StreamReader | None = None
        self._header_timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Timeout | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        address = peer_address(transport)
        if not self._guard.admit(address):
            log.debug("http.connection_refused", address=address)
            self.close()
            cast(asyncio.Transport, transport).abort()
            return
        self._address = address
        super().connection_made(transport)
        self._expect_header()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._header_is_complete()
        if self._address is not None:
            self._guard.release(self._address)
            self._address = None
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(self._loop.time())
        super().connection_lost(exc)

    @contextmanager
    def waits(self, limit: asyncio.Timeout) -> Iterator[None]:
        """See `ends_with_client`."""
        if self.transport is None:
            limit.reschedule(self._loop.time())
        self._waiting = limit
        try:
            yield
        finally:
            self._waiting = None

    def data_received(self, data: bytes) -> None:
        """Start the clock of a header at its first byte, and stop it when the header is complete.

        The start of a header that arrives in one piece with the end of the request before it is not seen; such a
        connection has the time of an idle one.
        """
        between = self._body is None or self._body.is_eof()
        super().data_received(data)
        if self._messages:
            self._body = self._messages[-1][1]
            if self._header_timer is not None:
                self._header_is_complete()
        elif between and data and self._header_timer is None and not self._upgraded and self._address is not None:
            self._expect_header()

    def _expect_header(self) -> None:
        self._header_timer = self._loop.call_later(self._guard.header_seconds, self._header_is_late)

    def _header_is_complete(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_is_late(self) -> None:
        self._header_timer = None
        log.debug("http.header_late", address=self._address)
        if self._waiter is not None and not self._messages:
            self.force_close()
        else:
            self.close()  # once the request in hand is answered

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what never reached the application, saying nothing of what went wrong inside."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is on its way already")
        error: PerceptionError
        if status < 500:
            log.debug("http.malformed", address=self._address, error=type(exc).__name__)
            error = MalformedRequest(
                f"The request is not valid HTTP, or its header is beyond the limits ({LINE_BYTES} bytes a line, {FIELDS} fields)"
            )
        else:
            log.error("http.failed", address=self._address, exc_info=exc)
            error = ServiceFailed("The server failed on this request")
        response = problem_response(error)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A body that breaks off after its answer was sent is the client's affair."""
        error = kw.get("exc_info")
        if isinstance(error, (web.RequestPayloadError, ConnectionError)):
            log.debug("http.connection_broken", address=self._address, error=type(error).__name__)
        else:
            log.error("http.connection_failed", address=self._address, exc_info=error)


def ends_with_client(request: web.Request, limit: asyncio.Timeout) -> AbstractContextManager[None]:
    """While the block lasts, a client that leaves ends ``limit`` at once: nobody is there any more to wait for.

    aiohttp lets handlers go on without their client, which is right for one that is about to publish a job, and would keep one
    that waits for its result until its time is over.
    """
    handler = request.protocol
    return handler.waits(limit) if isinstance(handler, GuardedHandler) else nullcontext()


class GuardedServer(web.Server):
    """Makes a `GuardedHandler` for each connection."""

    def __init__(self, handler: Any, guard: ConnectionGuard, *, request_factory: Any, **options: Any) -> None:
        super().__init__(handler, request_factory=request_factory, handler_cancellation=False)
        self._guard = guard
        self._options = options

    def __call__(self) -> web.RequestHandler:
        return GuardedHandler(self, self._guard, loop=self._loop, **self._options)


class GuardedRunner(web.AppRunner):
    """Runs the application behind the limits of the settings."""

    __slots__ = ("_settings",)

    def __init__(self, app: web.Application, settings: Settings, **options: Any) -> None:
        """``options`` are those of `web.AppRunner` that concern shutdown and signals."""
        super().__init__(app, **options)
        self._settings = settings

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        limits = RequestLimits.from_settings(self._settings)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if hdrs.EXPECT in request.headers and (refusal := _refuse_expectation(request, limits)) is not None:
                return refusal
            return await plain.request_handler(request)

        return GuardedServer(
            handle,
            ConnectionGuard(self._settings),
            request_factory=plain.request_factory,
            keepalive_timeout=self._settings.keepalive_seconds,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,
            access_log=None,
            max_line_size=LINE_BYTES,
            max_field_size=FIELD_BYTES,
            max_headers=FIELDS,
        )


def _refuse_expectation(request: web.BaseRequest, limits: RequestLimits) -> web.Response | None:
    """The answer to a client that asks before it sends a body that would be refused: it need not send it."""
    try:
        if request.headers[hdrs.EXPECT].lower() != "100-continue":
            raise MalformedRequest("The only expectation that can be met is 100-continue")
        check_header(request, limits)
    except PerceptionError as error:
        response = problem_response(error)
        response.force_close()
        return response
    return None
