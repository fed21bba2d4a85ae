"""PostgreSQL from this machine's programs: a fresh cluster on TCP only, trusting its loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from tests.servers.base import ServerFailed, free_port
from tests.servers.process import Command, ProcessServer, group_of

USER = "sensorium"
# A test's data need to survive the death of the server, not of the machine.
_SETTINGS = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=32MB", "max_connections=100")


def postgresql_server(programs: Path, folder: Path) -> ProcessServer:
    """A PostgreSQL server with an empty cluster, not yet started. Run by root, it runs as `postgres` (else `nobody`)."""
    user = _unprivileged_user() if os.geteuid() == 0 else None
    cleanup = None
    if user is not None:
        # The other user cannot enter root's folders, such as those that pytest makes.
        folder = Path(tempfile.mkdtemp(prefix="sensorium-postgresql-"))
        shutil.chown(folder, user)
        cleanup = partial(shutil.rmtree, folder, ignore_errors=True)
    try:
        _make_cluster(programs, folder, user)
    except BaseException:
        if cleanup is not None:
            cleanup()
        raise
    port = free_port()
    settings = [word for setting in (*_SETTINGS, f"port={port}") for word in ("-c", setting)]
    argv: list[str | Path] = [programs / "postgres", "-D", folder / "data", *settings]
    # SIGINT is PostgreSQL's "fast" end; SIGTERM would wait for the clients to leave.
    command = Command("postgresql", argv, folder, os.environ, user, signal.SIGINT)
    return ProcessServer("postgresql", f"postgresql://{USER}@127.0.0.1:{port}/postgres", command, cleanup)


def _make_cluster(programs: Path, folder: Path, user: str | None) -> None:
    argv: list[str | Path] = [
        programs / "initdb",
        "-D",
        folder / "data",
        "-U",
        USER,
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]
    done = subprocess.run(
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=group_of(user),
        extra_groups=None if user is None else [],
    )
    if done.returncode:
        raise ServerFailed(f"initdb: {done.stderr.strip()}")


def _unprivileged_user() -> str:
    # PostgreSQL refuses to run as root.
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
