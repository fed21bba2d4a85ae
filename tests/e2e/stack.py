"""The compose file as operators use it: built, started, scaled and broken with Docker's own means, under a project name of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

import aiohttp
import docker
from docker.models.containers import Container

from tests.servers.base import free_port

ROOT = Path(__file__).parents[2]
#: Building from nothing takes minutes; starting takes one.
_BUILD_SECONDS = 1200
_SECONDS = 300


class ComposeFailed(Exception):
    """The text is what Docker said."""


class Stack:
    """One project of the compose file, on two ports of 127.0.0.1 so that two gateways have room."""

    def __init__(self, folder: Path, mirror: str | None) -> None:
        self.project = f"sensorium-test-{secrets.token_hex(4)}"
        self.engine = docker.from_env()
        self.credentials = ("", "")
        port = _two_free_ports()
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("SENSORIUM_")}
        self._environment |= {"SENSORIUM_LISTEN": f"127.0.0.1:{port}-{port + 1}", "SENSORIUM_TAG": "test"}
        if mirror is not None:
            key = "MIRROR_FOLDER" if Path(mirror).is_dir() else "SENSORIUM_MODELS_MIRROR"
            self._environment[key] = str(Path(mirror).resolve()) if key == "MIRROR_FOLDER" else mirror
        self._secrets = folder / "secrets.env"
        subprocess.run(["sh", str(ROOT / "deploy" / "secrets.sh"), str(self._secrets)], check=True, capture_output=True)

    def compose(self, *words: str, seconds: float = _SECONDS, text: str = "") -> str:
        """What ``docker compose`` printed. Raises `ComposeFailed`."""
        command = [
            "docker",
            "compose",
            "-p",
            self.project,
            "--env-file",
            str(self._secrets),
            "-f",
            str(ROOT / "deploy" / "docker-compose.yml"),
        ]
        done = subprocess.run([*command, *words], env=self._environment, capture_output=True, text=True, input=text, timeout=seconds)
        if done.returncode:
            raise ComposeFailed(f"docker compose {' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-6000:]}\n{self._unwell()}")
        return done.stdout

    def up(self, *words: str) -> None:
        """Start what is missing and wait until all of it is healthy."""
        self.compose("up", "-d", "--wait", *words)

    def build(self) -> None:
        self.compose("build", seconds=_BUILD_SECONDS)

    def remove(self) -> None:
        self.compose("down", "-v", "--remove-orphans", "--timeout", "5")

    def provision(self) -> None:
        """An account with a stream, whose credentials the clients get."""
        account = ("exec", "-T", "gateway", "sensorium", "account")
        self.compose(*account, "create", "test@example.com", "--password-stdin", text="correct horse battery staple\n")
        self.compose(*account, "plan", "test@example.com", "enterprise")
        stream = json.loads(self.compose(*account, "add-stream", "test@example.com", "door", "--json"))
        self.credentials = (stream["client_id"], stream["access_token"])

    def containers(self, service: str | None = None) -> list[Container]:
        """Those of the project that run, or of one of its services, by number."""
        labels = [f"com.docker.compose.project={self.project}"]
        if service is not None:
            labels.append(f"com.docker.compose.service={service}")
        found = self.engine.containers.list(filters={"label": labels})
        return sorted(found, key=lambda container: str(container.name))

    def urls(self) -> list[str]:
        """Where the gateways are published."""
        return [f"http://127.0.0.1:{port}" for container in self.containers("gateway") for port in published(container)]

    def client(self, url: str | None = None) -> aiohttp.ClientSession:
        headers = {"Authorization": aiohttp.encode_basic_auth(*self.credentials)}
        return aiohttp.ClientSession(base_url=url or self.urls()[0], headers=headers, connector=aiohttp.TCPConnector(limit=0))

    def queue(self, service: str, fact: str) -> int:
        """A number that the broker knows of a service's queue: ``consumers``, ``messages_unacknowledged``…"""
        (broker,) = self.containers("rabbitmq")
        _, output = broker.exec_run(["rabbitmqctl", "--quiet", "list_queues", "--formatter", "json", "name", fact])
        queues = json.loads(output)
        return next(int(queue[fact]) for queue in queues if queue["name"] == f"sensorium.{service}")

    def _unwell(self) -> str:
        """The last words of the containers that are not as they should be."""
        found = self.engine.containers.list(all=True, filters={"label": f"com.docker.compose.project={self.project}"})
        bad = [
            one for one in found if one.health not in ("healthy", "unknown") or one.attrs["State"]["ExitCode"] or one.status == "restarting"
        ]
        return "\n".join(f"== {container.name} {container.status}\n{container.logs(tail=20).decode(errors='replace')}" for container in bad)


def published(container: Container) -> list[int]:
    """Its ports on this machine."""
    ports = container.attrs["NetworkSettings"]["Ports"] or {}
    return [int(binding["HostPort"]) for bindings in ports.values() for binding in bindings or ()]


def why_not() -> str | None:
    """What keeps compose from being used here; None when nothing does."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    for words in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stderr.strip()[-300:]
    return None


def _two_free_ports() -> int:
    """The first of two neighbours."""
    while True:
        port = free_port()
        if port < 65000 and _is_free(port + 1):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
