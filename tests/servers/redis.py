"""Redis from this machine's programs: append-only file, no snapshots, nothing evicted."""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.base import free_port
from tests.servers.process import Command, ProcessServer

OPTIONS = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction")


def redis_server(programs: Path, folder: Path) -> ProcessServer:
    """A Redis server, not yet started."""
    port = free_port()
    argv: list[str | Path] = [programs / "redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", folder, *OPTIONS]
    return ProcessServer("redis", f"redis://127.0.0.1:{port}/0", Command("redis", argv, folder, os.environ))
