"""Child processes: started with a log, ended for certain, and asked how much CPU time they have used."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

STOP_LIMIT_S = 10.0
LOG_LINES = 15


class ChildFailed(Exception):
    """A system under test did not start or did not do its job; the text ends with the last lines of its log."""


@dataclass(frozen=True)
class Group:
    """A process and all its descendants, counted as one."""

    pid: int

    def members(self) -> list[psutil.Process]:
        """Those that run now."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        """User and system time of those that run and of those that they have waited for."""
        total = 0.0
        for member in self.members():
            with suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total


class Child:
    """A program of ours with its own session and a log file."""

    def __init__(self, argv: Sequence[str | Path], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        self._log = log
        with log.open("ab") as out:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [os.fspath(word) for word in argv],
                cwd=folder,
                env={**clean_environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.group = Group(self._process.pid)

    def check(self) -> None:
        """Raise `ChildFailed` if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise ChildFailed(f"{self._log.stem} ended with {code}:\n{self.last_lines()}")

    def last_lines(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def stop(self) -> None:
        """Ask it to end, insist after a while, and leave none of its descendants."""
        members = self.group.members()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT_S)
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(members, timeout=STOP_LIMIT_S)


def clean_environment() -> dict[str, str]:
    """Ours without what would configure a system under test behind the bench's back. `BENCH_…` are the peers' knobs (README.md)."""
    kept = ("SENSORIUM_MODELS_DIR", "SENSORIUM_MODELS_MIRROR")
    return {name: value for name, value in os.environ.items() if name in kept or not name.startswith(("SENSORIUM_", "PYTHON"))}


def listener(url: str) -> Group:
    """The process on this machine that listens on the port of `url`: a server that somebody else started."""
    port = urlsplit(url).port
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid is not None:
            return Group(connection.pid)
    raise ChildFailed(f"nobody listens on port {port}")
