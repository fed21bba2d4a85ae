"""Real RabbitMQ, Redis and PostgreSQL servers for tests, each with a port and a data folder of its own.

`start_rabbitmq(folder)`, `start_redis(folder)` and `start_postgresql(folder)` start a fresh server that the caller owns, from
installed binaries, else (as root, where apt-get is) from Debian's packages, else with Docker. `obtain(kind, folder)` prefers a server
named by an environment variable (`SENSORIUM_TEST_RABBITMQ`, `…_REDIS`, `…_POSTGRESQL`, each a URL), which the caller shares.
All of them block; from a coroutine call them with `asyncio.to_thread`. A server that cannot be had raises `ServerAbsent`.
"""

from tests.servers.base import Server, ServerAbsent, ServerFailed
from tests.servers.external import ENVIRONMENT, ExternalServer
from tests.servers.start import KINDS, RabbitMQ, obtain, start_postgresql, start_rabbitmq, start_redis

__all__ = [
    "ENVIRONMENT",
    "KINDS",
    "ExternalServer",
    "RabbitMQ",
    "Server",
    "ServerAbsent",
    "ServerFailed",
    "obtain",
    "start_postgresql",
    "start_rabbitmq",
    "start_redis",
]
