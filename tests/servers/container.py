"""A server in a Docker container, for machines where neither its programs nor apt-get are at hand."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import docker
from docker.errors import DockerException

from tests.servers.base import Server, ServerFailed, free_port, wait_until
from tests.servers.ready import answers
from tests.servers.redis import OPTIONS as REDIS_OPTIONS

if TYPE_CHECKING:
    from docker.models.containers import Container


@dataclass(frozen=True)
class Image:
    """What to run: image, the port inside, command words, environment (`NAME=value`), and the URL with `{port}` for the port outside."""

    name: str
    port: int
    url: str
    words: Sequence[str] = ()
    environment: Sequence[str] = ()


IMAGES: Mapping[str, Image] = MappingProxyType(
    {
        "rabbitmq": Image("rabbitmq:4-management", 5672, "amqp://guest:guest@127.0.0.1:{port}/"),
        "redis": Image("redis:7", 6379, "redis://127.0.0.1:{port}/0", ("redis-server", *REDIS_OPTIONS)),
        "postgresql": Image(
            "postgres:15",
            5432,
            "postgresql://sensorium@127.0.0.1:{port}/postgres",
            environment=("POSTGRES_USER=sensorium", "POSTGRES_DB=postgres", "POSTGRES_HOST_AUTH_METHOD=trust"),
        ),
    }
)
_MANAGEMENT_PORT = 15672


def usable() -> bool:
    """Whether a Docker daemon answers."""
    try:
        docker.from_env().ping()
    except DockerException:
        return False
    return True


class ContainerServer(Server):
    """A container of our own. Its outside port is chosen once, so that a restart keeps the address."""

    def __init__(self, kind: str, *, management: bool = False) -> None:
        self._kind = kind
        self._image = IMAGES[kind]
        self._port = free_port()
        self._management = free_port() if management else None
        self._container: Container | None = None
        super().__init__(self._image.url.format(port=self._port))

    @property
    def management_url(self) -> str:
        """Base URL of RabbitMQ's management API. Raises `ServerFailed` if it was not asked for."""
        if self._management is None:
            raise ServerFailed("started without management")
        return f"http://guest:guest@127.0.0.1:{self._management}"

    def start(self) -> None:
        if self._container is None:
            self._container = self._run()
        else:
            self._container.start()
        wait_until(lambda: answers(self._kind, self.url), self._died)

    def stop(self) -> None:
        self._running().stop(timeout=30)

    def kill(self) -> None:
        self._running().kill()
        self._running().wait()

    def pause(self) -> None:
        self._running().pause()

    def resume(self) -> None:
        container = self._running()
        container.reload()
        if container.status == "paused":
            container.unpause()

    def close(self) -> None:
        if self._container is not None:
            self._container.remove(force=True, v=True)
            self._container = None

    def ctl(self, *words: str) -> str:
        """Run `rabbitmqctl` inside; as the method of the same name of `RabbitMQServer`."""
        code, output = self._running().exec_run(["rabbitmqctl", "--quiet", *words])
        assert isinstance(output, bytes), "asked for as a whole"
        text = output.decode(errors="replace")
        if code:
            raise ServerFailed(f"rabbitmqctl {' '.join(words)}: {text.strip()}")
        return text

    def _run(self) -> Container:
        ports = {f"{self._image.port}/tcp": ("127.0.0.1", self._port)}
        if self._management is not None:
            ports[f"{_MANAGEMENT_PORT}/tcp"] = ("127.0.0.1", self._management)
        return docker.from_env().containers.run(
            self._image.name,
            list(self._image.words) or None,
            detach=True,
            environment=list(self._image.environment),
            hostname="sensorium-test",  # RabbitMQ's data are filed under it
            name=f"sensorium-test-{self._kind}-{secrets.token_hex(4)}",
            ports=ports,
        )

    def _running(self) -> Container:
        if self._container is None:
            raise ServerFailed(f"{self._kind} was not started")
        return self._container

    def _died(self) -> str | None:
        container = self._running()
        container.reload()
        return f"container {container.status}\n{container.logs(tail=30).decode(errors='replace')}" if container.status == "exited" else None
