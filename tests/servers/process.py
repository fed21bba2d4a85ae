"""A server as a process tree of ours."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.servers.base import Server, ServerFailed, wait_until
from tests.servers.ready import answers

STOP_LIMIT_S = 30.0
LOG_LINES = 30


@dataclass(frozen=True)
class Command:
    """How one program is run.

    `folder` holds its log (`<name>.log`) and is its working directory; `user` is whom to run as (None: ourselves);
    `stop_signal` asks it to end in good order.
    """

    name: str
    argv: Sequence[str | Path]
    folder: Path
    environment: Mapping[str, str]
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def last_lines(self) -> str:
        """The end of its log, for the text of an error."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])


class Tree:
    """A running command with all its descendants, which do not outlive this Python process however that ends."""

    def __init__(self, command: Command) -> None:
        self.command = command
        with command.log.open("ab") as log:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [os.fspath(word) for word in command.argv],
                cwd=command.folder,
                env=dict(command.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=command.user,
                group=group_of(command.user),
                extra_groups=None if command.user is None else [],
            )
        self._guard = _guard(self._process.pid)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to end; insist after `STOP_LIMIT_S`. A frozen tree is thawed first, since it could not hear."""
        self.signal(signal.SIGCONT)
        members = self._members()
        if self.exit_code is None:
            self._process.send_signal(self.command.stop_signal)
        _wait_for_end(members)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to all of it, and wait until it is gone."""
        members = self._members()
        self.signal(signal.SIGKILL)
        _wait_for_end(members)
        self._process.wait(STOP_LIMIT_S)  # a server of many threads is a zombie for a moment before it can be waited for
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the tree."""
        # Not by process group: PostgreSQL gives each of its children a session of its own.
        for member in self._members():
            try:
                member.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def _members(self) -> list[psutil.Process]:
        if self.exit_code is not None:
            return []
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _wait_for_end(members: Sequence[psutil.Process]) -> None:
    """Return once all have ended, or `STOP_LIMIT_S` have passed."""
    with suppress(ServerFailed):
        wait_until(lambda: all(_ended(member) for member in members), lambda: None, STOP_LIMIT_S)


def _ended(member: psutil.Process) -> bool:
    # A process whose parent has ended before it stays as a zombie until the system's first process looks after it.
    try:
        return not member.is_running() or member.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def group_of(user: str | None) -> int | None:
    """The number of a user's own group; None for None."""
    return None if user is None else pwd.getpwnam(user).pw_gid


def _guard(process_group: int) -> subprocess.Popen[bytes]:
    # Its input is a pipe from us: it ends when we do, be it by SIGKILL, and then the guard ends the server.
    script = 'read -r _; kill -s KILL -- "-$0"'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, str(process_group)], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )


class ProcessServer(Server):
    """A server run from a binary of this machine."""

    def __init__(self, kind: str, url: str, command: Command, cleanup: Callable[[], None] | None = None) -> None:
        super().__init__(url)
        self._kind = kind
        self._command = command
        self._cleanup = cleanup
        self._tree: Tree | None = None

    def start(self) -> None:
        if self._tree is not None and self._tree.exit_code is None:
            return
        tree = self._tree = Tree(self._command)
        try:
            wait_until(lambda: answers(self._kind, self.url), lambda: self._died(tree))
        except BaseException as error:
            tree.kill()
            if isinstance(error, ServerFailed):
                raise ServerFailed(f"{self._kind}: {error}\n{self._command.last_lines()}") from None
            raise

    def stop(self) -> None:
        if self._tree is not None:
            self._tree.stop()

    def kill(self) -> None:
        if self._tree is not None:
            self._tree.kill()

    def pause(self) -> None:
        if self._tree is not None:
            self._tree.signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self._tree is not None:
            self._tree.signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()  # nobody needs the data any more, and RabbitMQ's orderly end takes seconds
        if self._cleanup is not None:
            self._cleanup()

    @staticmethod
    def _died(tree: Tree) -> str | None:
        return None if tree.exit_code is None else f"ended with exit code {tree.exit_code}"
