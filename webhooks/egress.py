"""Where messages may go: to public addresses only, unless the operator opens the others.

A name is resolved once, when the connection is made, its addresses are checked, and the connection goes to one of the checked addresses:
a name that changes its mind between the check and the connection changes nothing.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from shared.errors import InvalidParameter

#: The longest address of a receiver.
MOST_CHARACTERS = 2000
_PARAMETER = "webhook.url"
#: Networks that are not public, by the registries for special purposes (RFC 6890 and its successors); the standard library's own list
#: differs from release to release.
_NOT_PUBLIC = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
#: All of IPv6 that is given to hosts, what of it is not public, and where an IPv4 address stands at the end of an IPv6 one (RFC 6052).
_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20")))
_TRANSLATED = IPv6Network("64:ff9b::/96")


class AddressRefused(OSError):
    """The receiver's address is not a public one."""


def check_url(url: str, *, private: bool) -> None:
    """Raise `InvalidParameter` unless messages may be sent to this address as far as can be told without asking for its name.

    ``private``: addresses that are not public are open, and plain http with them.
    """
    parts = _split(url)
    if parts.scheme not in (("https", "http") if private else ("https",)):
        raise _invalid("must begin with https://")
    if not parts.hostname or "%" in parts.hostname:
        raise _invalid("has no host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise _invalid("must hold neither credentials nor a fragment")
    if not private and not _may_be_public(parts.hostname):
        raise _invalid("is not a public address")


def _split(url: str) -> SplitResult:
    if len(url) > MOST_CHARACTERS or not url.isascii() or not url.isprintable() or any(mark in url for mark in ' \\"<>'):
        raise _invalid(f"must be an address of at most {MOST_CHARACTERS} printable ASCII characters")
    try:
        parts = urlsplit(url)
        if parts.port == 0:
            raise _invalid("has no port")
    except ValueError:
        raise _invalid("is not an address") from None
    return parts


def _invalid(reason: str) -> InvalidParameter:
    return InvalidParameter(f"{_PARAMETER}: {reason}", parameter=_PARAMETER)


def _may_be_public(host: str) -> bool:
    name = host.rstrip(".")
    try:
        return is_public(ip_address(name))
    except ValueError:
        # Numbers in the way of `inet_aton` (2130706433, 0x7f.1, 127.1) are no names of hosts anywhere.
        last = name.rpartition(".")[2]
        return not (last.isdigit() or last.startswith("0x") or last == "localhost")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether everybody on the internet means the same host by this address. An address inside another one is judged too."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC)
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _TRANSLATED:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(inner)
    return address in _UNICAST and not any(address in network for network in _NOT_PUBLIC_6)


class CheckedResolver(AbstractResolver):
    """Resolves names, in threads of its own: one whose name server does not answer keeps nobody else's thread.

    Unless ``private``, a host that has any address which is not public has none.
    """

    def __init__(self, threads: int, *, private: bool) -> None:
        self._private = private
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """Raises `AddressRefused`, or `OSError` when the name cannot be resolved."""
        ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        found = await asyncio.get_running_loop().run_in_executor(self._pool, ask)
        addresses = [(kind, protocol, str(place[0])) for kind, _, protocol, _, place in found]
        if not self._private and not all(is_public(ip_address(address)) for _, _, address in addresses):
            raise AddressRefused(AddressRefused.__doc__)
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=protocol, flags=flags)
            for kind, protocol, address in addresses
        ]

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
