"""Which of the ways to get a server is taken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

from tests.servers import binaries
from tests.servers.base import Server, ServerAbsent, ServerFailed
from tests.servers.container import ContainerServer, usable
from tests.servers.external import ENVIRONMENT, named_by_environment
from tests.servers.postgresql import postgresql_server
from tests.servers.rabbitmq import Node, RabbitMQServer
from tests.servers.redis import redis_server

KINDS = ("rabbitmq", "redis", "postgresql")
RabbitMQ: TypeAlias = RabbitMQServer | ContainerServer
AnyServer = TypeVar("AnyServer", bound=Server)


def start_rabbitmq(folder: Path, *, management: bool = False) -> RabbitMQ:
    """A fresh broker with its files in `folder` (which must exist). Raises `ServerAbsent`, `ServerFailed`."""
    programs = _programs("rabbitmq")
    if programs is None:
        return _started(ContainerServer("rabbitmq", management=management))
    return _started(RabbitMQServer(programs, folder, Node.new(management=management)))


def start_redis(folder: Path) -> Server:
    """A fresh, empty Redis with its files in `folder` (which must exist). Raises `ServerAbsent`, `ServerFailed`."""
    return _from_programs("redis", redis_server, folder)


def start_postgresql(folder: Path) -> Server:
    """A fresh PostgreSQL cluster in `folder` (which must exist; root's goes to a folder of its own). Raises as the others."""
    return _from_programs("postgresql", postgresql_server, folder)


def obtain(kind: str, folder: Path) -> Server:
    """A server of this kind that may be shared: the one that the environment names, else a fresh one. Raises as the others."""
    named = named_by_environment(kind)
    if named is not None:
        return named
    starters: dict[str, Callable[[Path], Server]] = {"rabbitmq": start_rabbitmq, "redis": start_redis, "postgresql": start_postgresql}
    return starters[kind](folder)


def _from_programs(kind: str, make: Callable[[Path, Path], Server], folder: Path) -> Server:
    programs = _programs(kind)
    return _started(ContainerServer(kind) if programs is None else make(programs, folder))


def _programs(kind: str) -> Path | None:
    """The folder with its programs; None where Docker shall run it. Raises `ServerAbsent`."""
    found = binaries.find(kind)
    if found is not None:
        return found
    if binaries.can_install():
        try:
            return binaries.install(kind)
        except ServerFailed as error:
            raise ServerAbsent(f"{kind} is not installed, and installing it failed: {error}") from error
    if shutil.which("docker") and usable():
        return None
    raise ServerAbsent(f"{kind} is not installed, Docker does not answer, and {ENVIRONMENT[kind]} names no server")


def _started(server: AnyServer) -> AnyServer:
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server
