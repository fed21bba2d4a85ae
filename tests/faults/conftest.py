"""A system over servers of the test's own, to be killed and restarted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.processes import System, running_system
from tests.servers import RabbitMQ, Server


@pytest.fixture
def system(tmp_path: Path, own_rabbitmq: RabbitMQ, own_redis: Server, namespace: str) -> Iterator[System]:
    settings = {
        "BROKER": own_rabbitmq.url,
        "STORE": own_redis.url,
        "NAMESPACE": namespace,
        "DATABASE": f"sqlite+aiosqlite:///{tmp_path / 'accounts.db'}",
        "MODEL_THREADS": "1",
        "LOG_LEVEL": "debug",
    }
    with running_system(tmp_path, settings) as made:
        made.provision()
        yield made
