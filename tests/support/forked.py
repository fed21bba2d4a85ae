"""`sensorium` commands that start quickly: forked from a server that has imported the program already.

Importing all of it takes two seconds of processor time, and the tests start hundreds of processes. What runs is the same as with
``python -m sensorium``, which the tests of the containers and of the first run start. The server is `multiprocessing`'s, one for each
process of tests. Linux only: elsewhere libraries are not made to be forked, and commands start the long way.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[2]
#: Imported by the server, once. Those that do not exist, for an extra that is not installed, are left out.
_PRELOADED = (
    "sensorium.cli",
    "sensorium.processes.embedded",
    "sensorium.processes.gateway",
    "sensorium.processes.recorder",
    "sensorium.processes.worker",
    "accounts.commands",
    "shared.adapters.memory.broker",
    "shared.adapters.memory.store",
    "shared.adapters.rabbitmq.broker",
    "shared.adapters.redis.stores",
    *(f"workers.services.{path.stem}" for path in sorted((ROOT / "workers" / "services").glob("[a-z]*.py"))),
    "onnxruntime",
    "scipy.optimize",
    "scipy.sparse.csgraph",
    "scipy.spatial",
    "tests.support.forked",
)


class Running(Protocol):
    """What tests use of a process; `subprocess.Popen` has it all."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...
    def send_signal(self, sig: int) -> None: ...


class Forked:
    """A process of the server, with `subprocess.Popen`'s methods."""

    def __init__(self, process: BaseProcess) -> None:
        assert process.pid is not None
        self._process, self.pid = process, process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return status

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)


@cache
def _context() -> Any:
    """The server's, which is started with the first process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


def start(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, *, afresh: bool = False) -> Running:
    """``sensorium ARGUMENTS`` with exactly this environment, in ``folder``; what it prints goes to ``log``.

    ``afresh``: not forked, so that what it takes of the memory is its own.
    """
    if afresh or sys.platform != "linux":
        with log.open("wb") as output:
            command = [sys.executable, "-m", "sensorium", *arguments]
            return subprocess.Popen(command, env=dict(environment), cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    return _forked(arguments, environment, folder, (os.devnull, str(log), str(log)))


def run(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, text: str = "", timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """``sensorium ARGUMENTS`` to its end, with ``text`` as its input. Raises `subprocess.TimeoutExpired`."""
    command = [sys.executable, "-m", "sensorium", *arguments]
    if sys.platform != "linux":
        return subprocess.run(
            command, env=dict(environment), cwd=folder, capture_output=True, text=True, input=text, timeout=timeout, check=False
        )
    with tempfile.TemporaryDirectory() as name:
        given, output, errors = (Path(name) / stream for stream in ("input", "output", "errors"))
        given.write_text(text)
        process = _forked(arguments, environment, folder, (str(given), str(output), str(errors)))
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(command, status, output.read_text(), errors.read_text())


def _forked(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, streams: tuple[str, str, str]) -> Forked:
    process = _context().Process(target=_run, args=(list(arguments), dict(environment), str(folder), streams))
    process.start()
    return Forked(process)


def _run(arguments: list[str], environment: dict[str, str], folder: str, streams: tuple[str, str, str]) -> None:
    """In the new process. ``streams``: the files of its input, output and errors."""
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode, closefd=False) for number, mode in enumerate("rww"))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    sys.argv = ["sensorium", *arguments]
    from sensorium.cli import main

    sys.exit(main())
