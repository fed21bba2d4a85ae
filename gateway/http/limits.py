"""What a request may weigh and how long it may take to arrive, enforced while it is read.

aiohttp's own limits do not hold for multipart bodies and know no time, so no handler reads a body in any other way than
through `read_body`. The server is built with decompression switched off (`gateway/http/server.py`); here compressed bodies
are refused.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Self

from aiohttp import hdrs, web

from shared.errors import InputTooLarge, MalformedRequest, RequestTimeout, UnsupportedEncoding
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The bounds of one request. Sizes are in bytes, times in seconds; a rate of 0 means none."""

    body_bytes: int = 20_000_000
    json_bytes: int = 2_000_000
    multipart_parts: int = 32
    body_seconds: float = 60.0
    body_bytes_per_second: int = 10_000
    #: A body need not keep to the rate before this time: connections start slowly.
    grace_seconds: float = 5.0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            body_bytes=settings.body_bytes,
            json_bytes=settings.json_bytes,
            multipart_parts=settings.multipart_parts,
            body_seconds=settings.body_seconds,
            body_bytes_per_second=settings.body_bytes_per_second,
        )

    def too_large(self) -> InputTooLarge:
        return InputTooLarge(f"The request's body is beyond the limit of {self.body_bytes} bytes")

    def due(self, received: int) -> float:
        """Seconds from the start of the body until which more of it has to come, once ``received`` bytes are there."""
        if not self.body_bytes_per_second:
            return self.body_seconds
        return min(self.body_seconds, self.grace_seconds + received / self.body_bytes_per_second)


async def read_body(request: web.Request, limits: RequestLimits) -> bytes:
    """The whole body of the request.

    Raises `UnsupportedEncoding`, `InputTooLarge`, `RequestTimeout` or `MalformedRequest` as soon as it is certain; what
    is left of the body then is not read, and `gateway/http/middleware.py` closes the connection after the answer.
    """
    check_header(request, limits)
    if not request.body_exists:
        return b""
    content = request.content
    if content.is_eof() and content.exception() is None:
        body = content.read_nowait()
        if len(body) > limits.body_bytes:
            raise limits.too_large()
        return body
    return await _read_slowly(request, limits)


def check_header(request: web.BaseRequest, limits: RequestLimits) -> None:
    """Refuse what the header alone makes certain. Raises `UnsupportedEncoding` or `InputTooLarge`."""
    check_encoding(request)
    length = request.headers.get(hdrs.CONTENT_LENGTH)
    if length is not None and int(length) > limits.body_bytes:
        raise limits.too_large()


def check_encoding(request: web.BaseRequest) -> None:
    """Refuse bodies that are not sent as they are. Raises `UnsupportedEncoding`."""
    headers = request.headers
    encoding = headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedEncoding("Compressed request bodies are not accepted; send the body without Content-Encoding")
    transfer = headers.get(hdrs.TRANSFER_ENCODING)
    if transfer is not None and transfer.strip().lower() != "chunked":
        raise UnsupportedEncoding("The only Transfer-Encoding accepted is chunked")


async def _read_slowly(request: web.Request, limits: RequestLimits) -> bytes:
    content = request.content
    body = bytearray()
    start = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(start + limits.due(0)) as patience:
            while not content.at_eof():
                body += await content.readany()
                if len(body) > limits.body_bytes:
                    raise limits.too_large()
                patience.reschedule(start + limits.due(len(body)))
    except TimeoutError:
        raise RequestTimeout(_too_slow(limits, len(body))) from None
    except (web.RequestPayloadError, ConnectionError, RuntimeError) as error:
        # RuntimeError is what aiohttp's stream says when the connection was gone before the read began
        raise MalformedRequest("The request's body is not complete, or not framed as its header says") from error
    return bytes(body)


def _too_slow(limits: RequestLimits, received: int) -> str:
    if limits.due(received) < limits.body_seconds:
        return f"The request's body came slower than {limits.body_bytes_per_second} bytes a second"
    return f"The request's body was not complete within {limits.body_seconds:g} seconds"


class TrustedProxies:
    """The reverse proxies whose word about the client's address is taken."""

    def __init__(self, addresses: str = "") -> None:
        """``addresses``: addresses or networks (``10.0.0.0/8``) separated by commas. Raises `ValueError` for others."""
        self._networks: list[IPv4Network | IPv6Network] = [
            ip_network(address.strip(), strict=False) for address in addresses.split(",") if address.strip()
        ]

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def client_of(self, request: web.BaseRequest) -> str:
        """The address that the request came from: the last one of X-Forwarded-For that a trusted proxy vouches for."""
        address = peer_address(request.transport)
        if address not in self:
            return address
        for entry in reversed(",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ())).split(",")):
            try:
                address = str(ip_address(entry.strip()))
            except ValueError:
                return address
            if address not in self:
                return address
        return address

    def scheme_of(self, request: web.BaseRequest) -> str:
        """``http`` or ``https``: what the client spoke, as a trusted proxy says it."""
        said = request.headers.get(hdrs.X_FORWARDED_PROTO, "")
        return said if said in ("http", "https") and peer_address(request.transport) in self else request.scheme


def peer_address(transport: asyncio.BaseTransport | None) -> str:
    """The address at the other end of a connection; empty for a local socket or a lost connection."""
    peer = transport.get_extra_info("peername") if transport is not None else None
    return str(peer[0]) if isinstance(peer, (tuple, list)) and peer else ""
