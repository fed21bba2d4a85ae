"""Where the servers' programs are on this machine, and how they come there on Debian."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from tests.servers.base import ServerFailed

# The folders beside PATH to look into: Debian keeps these programs where a normal user's PATH does not reach, Homebrew's versioned
# formulas are not linked. RabbitMQ's own scripts come before Debian's wrapper in /usr/sbin, which insists on the user "rabbitmq".
_FOLDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "rabbitmq": ("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin", "opt/homebrew/opt/rabbitmq/sbin", "usr/local/opt/rabbitmq/sbin"),
        "redis": ("usr/bin", "usr/local/bin", "opt/homebrew/bin"),
        "postgresql": ("usr/lib/postgresql/*/bin", "opt/homebrew/opt/postgresql*/bin", "usr/local/opt/postgresql*/bin"),
    }
)
_PROGRAM: Mapping[str, str] = MappingProxyType({"rabbitmq": "rabbitmq-server", "redis": "redis-server", "postgresql": "initdb"})
_DEBIAN_PACKAGE: Mapping[str, str] = MappingProxyType({"rabbitmq": "rabbitmq-server", "redis": "redis-server", "postgresql": "postgresql"})
_POLICY = Path("/usr/sbin/policy-rc.d")


def find(kind: str) -> Path | None:
    """The folder with the programs of a kind of server, the newest version if there are several; None if there is none."""
    for pattern in _FOLDERS[kind]:
        found = [folder for folder in Path("/").glob(pattern) if (folder / _PROGRAM[kind]).exists()]
        if found:
            return max(found, key=_version)
    on_path = shutil.which(_PROGRAM[kind])
    return Path(on_path).resolve().parent if on_path else None


def can_install() -> bool:
    """Whether Debian's packages can be installed by us."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(kind: str) -> Path:
    """Install Debian's package without starting its system service; returns the folder as `find` does. Raises `ServerFailed`."""
    with _alone(), _no_services():
        folder = find(kind)  # somebody else may have installed it while we waited
        if folder is not None:
            return folder
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", _DEBIAN_PACKAGE[kind])
    folder = find(kind)
    if folder is None:
        raise ServerFailed(f"Debian's package {_DEBIAN_PACKAGE[kind]} is installed, but {_PROGRAM[kind]} is nowhere to be found")
    return folder


def _apt(*words: str) -> None:
    done = subprocess.run(
        ["apt-get", "-o", "DPkg::Lock::Timeout=300", *words],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(f"apt-get {' '.join(words)} failed: {done.stderr.strip()[-1000:]}")


@contextmanager
def _alone() -> Iterator[None]:
    # Several test processes may find the same server missing at once.
    with (Path(tempfile.gettempdir()) / "sensorium-test-servers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _no_services() -> Iterator[None]:
    # Debian's way to say that a package's service shall not be started. A policy that is there already is its owner's business.
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(folder)))
