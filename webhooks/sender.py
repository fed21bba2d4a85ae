"""One try: a request to the receiver, bounded in every way. What the receiver says beyond its status is not read."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import ClientTimeout, DummyCookieJar, TCPConnector
from yarl import URL

from shared.errors import InvalidParameter
from shared.settings import Settings
from webhooks.egress import AddressRefused, CheckedResolver, check_url
from webhooks.model import Result

_AGENT = "Sensorium-Webhooks"


class Sender:
    """Sends messages to their receivers: a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._private = settings.webhook_private
        self._seconds = settings.webhook_timeout_seconds
        self._most = settings.webhook_deliveries
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = TCPConnector(
            resolver=CheckedResolver(self._most, private=self._private),
            use_dns_cache=False,
            force_close=True,  # what a receiver sends after its status is never read, so that a connection is of no further use
            limit=self._most,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=self._seconds),
            headers={"User-Agent": _AGENT, "Accept": "*/*"},
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Result:
        """Never raises for anything that the receiver does; redirects are not followed and count as failures."""
        assert self._session is not None, "used as a context manager"  # noqa: S101
        try:
            check_url(url, private=self._private)  # the operator may have closed what was open when the job came
            response = await self._session.post(
                URL(url, encoded=True),
                data=body,
                headers={**headers, "Content-Type": "application/json"},
                allow_redirects=False,
            )
        except InvalidParameter as error:
            return Result(error=error.message)
        except (TimeoutError, aiohttp.ClientError, OSError, ssl.SSLError, ValueError) as error:
            return Result(error=_told(error))
        response.close()
        if 300 <= response.status < 400:
            return Result(response.status, "redirects are not followed")
        return Result(response.status, retry_after=_seconds(response.headers.get("Retry-After", "")))


def _told(error: Exception) -> str:
    """What the owner of the stream learns, without addresses that its name was resolved to."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    cause = error
    while cause is not None:
        if isinstance(cause, AddressRefused):
            return "the address is not a public one"
        cause = cause.__cause__ or getattr(cause, "os_error", None)  # type: ignore[assignment]
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host's name cannot be resolved"
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return "the receiver's certificate is not valid, or it does not speak TLS"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection"
    return "the connection broke or the answer was not HTTP"


def _seconds(retry_after: str) -> float | None:
    return float(retry_after) if retry_after.isdecimal() and len(retry_after) < 10 else None
