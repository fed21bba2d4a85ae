"""What every server of the tests can do, and how a port is chosen and readiness waited for."""

from __future__ import annotations

import os
import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from types import TracebackType
from typing import Self

START_LIMIT_S = 90.0  # generous: two test processes may start Erlang on one busy core
POLL_S = 0.05
PORTS = range(15_000, 32_000)
_LANES = 16


class ServerAbsent(Exception):
    """No server of this kind can be had on this machine; the text says what was tried and what to install."""


class ServerFailed(Exception):
    """The server is there but did not do what it was told; the text ends with the last lines of its log."""


class Server(ABC):
    """A running server. The address never changes, whatever is done to the server; data outlive everything but `close`."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def start(self) -> None:
        """Start it if it does not run, and return once it answers a client. Raises `ServerFailed`."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it as its operator would, and return once it is gone."""

    @abstractmethod
    def kill(self) -> None:
        """`kill -9`, and return once it is gone."""

    @abstractmethod
    def pause(self) -> None:
        """Freeze all of its processes: connections stay open and nothing answers."""

    @abstractmethod
    def resume(self) -> None:
        """Thaw it. Harmless when it is not frozen."""

    @abstractmethod
    def close(self) -> None:
        """End it for good and remove what it leaves outside its folder. Harmless when repeated."""

    def restart(self) -> None:
        """Stop and start again, with the same address and data."""
        self.stop()
        self.start()

    def revive(self) -> None:
        """Bring it back from whatever a test did to it."""
        self.resume()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _own_ports() -> Iterator[int]:
    """The ports of this test process, again and again. Those that run side by side have different ones, and none comes again soon: between
    a port's choice and the moment when a server listens on it are seconds in which it looks free."""
    lane = int(os.environ.get("PYTEST_XDIST_WORKER", f"gw{_LANES - 1}").removeprefix("gw")) % _LANES
    ports = PORTS[lane::_LANES]
    begin = random.randrange(len(ports))  # another run on this machine begins elsewhere
    return islice(cycle(ports), begin, None)


_ports = _own_ports()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on.

    Chosen below the ports from which systems make outgoing connections (32768 and up): a client that retries while its server is down
    could otherwise be given the server's port as its own, connect to itself, and keep the server from coming back.
    """
    for port in islice(_ports, 200):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"none of 200 ports tried between {PORTS.start} and {PORTS.stop} is free")


def wait_until(check: Callable[[], bool], failed: Callable[[], str | None], limit_s: float = START_LIMIT_S) -> None:
    """Ask `check` until it says yes. `failed` gives the reason once waiting has become pointless. Raises `ServerFailed`."""
    deadline = time.monotonic() + limit_s
    while not check():
        reason = failed()
        if reason is None and time.monotonic() > deadline:
            reason = f"no answer within {limit_s:.0f} s"
        if reason is not None:
            raise ServerFailed(reason)
        time.sleep(POLL_S)
