"""RabbitMQ from this machine's programs: a node with a name, cookie, port mapper and ports of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.base import ServerFailed, free_port, wait_until
from tests.servers.process import Command, ProcessServer, Tree
from tests.servers.ready import listens

CTL_LIMIT_S = 60.0
# Erlang's schedulers spin for work by default, which on a machine with few cores takes the time of the program under test.
_ERLANG_ARGUMENTS = "+sbwt none +sbwtdcpu none +sbwtdio none"


@dataclass(frozen=True)
class Node:
    """The ports (all on 127.0.0.1) and the name of one RabbitMQ node. `management` is None when its HTTP API is off."""

    name: str
    amqp: int
    distribution: int
    mapper: int
    management: int | None

    @classmethod
    def new(cls, *, management: bool) -> Node:
        name = f"sensorium-{secrets.token_hex(4)}@localhost"
        return cls(name, free_port(), free_port(), free_port(), free_port() if management else None)


class RabbitMQServer(ProcessServer):
    """One RabbitMQ node in the foreground, with its Erlang port mapper.

    RabbitMQ 3.10 writes the name of a new quorum queue to disk half a second after it confirmed the declaration. Killed sooner, it comes back
    with a queue that has lost its messages and answers nobody: `restart` it between declaring and killing.
    """

    def __init__(self, programs: Path, folder: Path, node: Node) -> None:
        self._programs = programs
        self._node = node
        self._environment = _prepare(folder, node)
        server = Command("rabbitmq", [programs / "rabbitmq-server"], folder, self._environment)
        super().__init__("rabbitmq", f"amqp://guest:guest@127.0.0.1:{node.amqp}/", server)
        # Erlang would start a port mapper that outlives everybody; ours is a child like the server. It must hear names from elsewhere
        # never, hence the address.
        words: list[str | Path] = [_port_mapper(), "-port", str(node.mapper), "-address", "127.0.0.1"]
        self._mapper_command = Command("epmd", words, folder, self._environment)
        self._mapper: Tree | None = None

    @property
    def management_url(self) -> str:
        """Base URL of the management API, credentials included. Raises `ServerFailed` if it was not asked for."""
        if self._node.management is None:
            raise ServerFailed("started without management")
        return f"http://guest:guest@127.0.0.1:{self._node.management}"

    def start(self) -> None:
        if self._mapper is None or self._mapper.exit_code is not None:
            mapper = self._mapper = Tree(self._mapper_command)
            wait_until(lambda: listens(f"//127.0.0.1:{self._node.mapper}"), lambda: self._died(mapper))
        super().start()

    def close(self) -> None:
        super().close()
        if self._mapper is not None:
            self._mapper.kill()

    def ctl(self, *words: str) -> str:
        """Run `rabbitmqctl` on this node and return what it prints. Raises `ServerFailed` with its complaint. Takes a second or two."""
        done = subprocess.run(
            [self._programs / "rabbitmqctl", "--quiet", "--node", self._node.name, *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CTL_LIMIT_S,
            check=False,
        )
        if done.returncode:
            raise ServerFailed(f"rabbitmqctl {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout


def _prepare(folder: Path, node: Node) -> dict[str, str]:
    cookie = folder / ".erlang.cookie"
    cookie.write_text(secrets.token_hex(16))
    cookie.chmod(0o400)
    (folder / "environment.conf").touch()
    (folder / "plugins").write_text("[].\n" if node.management is None else "[rabbitmq_management].\n")
    (folder / "rabbitmq.conf").write_text(configuration(node.amqp, node.management))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_", "NOTIFY_"))}
    return inherited | {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": node.name,
        "RABBITMQ_DIST_PORT": str(node.distribution),
        "ERL_EPMD_PORT": str(node.mapper),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "environment.conf"),  # else the machine's own in /etc is read
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_ERLANG_ARGUMENTS} -kernel inet_dist_use_interface {{127,0,0,1}}",
        "RUNNING_UNDER_SYSTEMD": "true",  # the start script then becomes the server instead of staying as its parent
        "ELIXIR_ERL_OPTIONS": "+fnu",
    }


def configuration(amqp: int, management: int | None) -> str:
    """The text of rabbitmq.conf: loopback only, little memory, warnings only."""
    lines = [
        f"listeners.tcp.1 = 127.0.0.1:{amqp}",
        "vm_memory_high_watermark.absolute = 1GB",
        "disk_free_limit.absolute = 50MB",
        "raft.wal_max_size_bytes = 67108864",
        "log.console = true",
        "log.console.level = warning",
        "log.file = false",
    ]
    if management is not None:
        lines += ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {management}", "collect_statistics_interval = 1000"]
    return "\n".join(lines) + "\n"


def _port_mapper() -> Path:
    found = shutil.which("epmd") or next(Path("/").glob("usr/lib/erlang/erts-*/bin/epmd"), None)
    if found is None:
        raise ServerFailed("RabbitMQ is installed but Erlang's epmd is not on PATH")
    return Path(found)
