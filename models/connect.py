"""HTTP connections with two time limits: a short one until the connection is there, a longer one for silence afterwards.

A host that does not exist, refuses, or swallows packets is known within the first limit; urllib alone has one limit for both, and asks
each address of a host in turn.
"""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
import threading
import urllib.error
import urllib.request
from functools import partial
from time import monotonic
from typing import Any

Answer = http.client.HTTPResponse


class Unreachable(OSError):
    """There is no connection: the name, the network, the proxy, TLS or the time."""


def open_url(request: urllib.request.Request, silence: float, connect: float) -> Answer:
    """The answer's head. ``silence``: seconds for each read; ``connect``: for the name, TCP, a proxy's tunnel and TLS together.

    Raises `Unreachable`, `urllib.error.HTTPError`, or `OSError` once connected.
    """
    opener = urllib.request.build_opener(_HttpHandler(connect), _HttpsHandler(connect))
    try:
        answer: Answer = opener.open(request, timeout=silence)
    except urllib.error.URLError as error:
        if isinstance(error.reason, Unreachable):
            raise error.reason from error
        raise
    return answer


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, connect: float) -> None:
        super().__init__()
        self._connect = connect

    def http_open(self, request: urllib.request.Request) -> Answer:
        answer: Answer = self.do_open(partial(_Http, within=self._connect), request)
        return answer


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, connect: float) -> None:
        super().__init__()
        self._connect = connect
        self._trusted = ssl.create_default_context()

    def https_open(self, request: urllib.request.Request) -> Answer:
        make = partial(_Https, within=self._connect, context=self._trusted)
        answer: Answer = self.do_open(make, request)
        return answer


class _Within(http.client.HTTPConnection):
    """Connects within ``within`` seconds, and then takes the timeout that it was made with."""

    def __init__(self, *args: Any, within: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._within = within
        self._create_connection = _create_connection

    def connect(self) -> None:
        silence = self.timeout
        self.timeout = self._within
        try:
            super().connect()
        except OSError as error:  # also a proxy's refusal and what is wrong with a certificate
            raise Unreachable(_text(error, self._within)) from error
        finally:
            self.timeout = silence
        self.sock.settimeout(silence)


class _Http(_Within):
    pass


class _Https(_Within, http.client.HTTPSConnection):
    pass


def _text(error: OSError, within: float) -> str:
    if isinstance(error, socket.gaierror):
        return "the host is not known here"
    if isinstance(error, TimeoutError):
        return f"no connection within {within:g} s"
    return str(error)


def _create_connection(address: tuple[str, int], timeout: float, source_address: object = None) -> socket.socket:
    """`socket.create_connection` with one limit for all addresses of the host: each gets half of what is left, the last all of it."""
    deadline = monotonic() + timeout
    found = _resolved(*address, timeout)
    failure: OSError = TimeoutError()
    for place, (family, kind, protocol, _, target) in enumerate(found):
        left = deadline - monotonic()
        if left <= 0:
            break
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left if place == len(found) - 1 else left / 2)
            connection.connect(target)
        except OSError as error:
            connection.close()
            failure = error
        else:
            connection.settimeout(max(deadline - monotonic(), 0.001))  # for the proxy's tunnel and TLS
            return connection
    raise failure


def _resolved(host: str, port: int, timeout: float) -> list[Any]:
    """`socket.getaddrinfo` within a time limit, which it has not itself: a name server may be silent too."""
    found: queue.Queue[list[Any] | OSError] = queue.Queue()

    def resolve() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.put(error)

    threading.Thread(target=resolve, daemon=True).start()
    try:
        answer = found.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, OSError):
        raise answer
    return answer
