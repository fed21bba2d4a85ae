"""A server that somebody else runs, named by an environment variable: used as it is, never touched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import NoReturn

from tests.servers.base import Server, ServerFailed
from tests.servers.ready import answers

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "rabbitmq": "SENSORIUM_TEST_RABBITMQ",
        "redis": "SENSORIUM_TEST_REDIS",
        "postgresql": "SENSORIUM_TEST_POSTGRESQL",
    }
)


class ExternalServer(Server):
    """Only its address is ours; whatever would disturb its other users raises `ServerFailed`."""

    def start(self) -> None:
        self._refuse("start")

    def stop(self) -> None:
        self._refuse("stop")

    def kill(self) -> None:
        self._refuse("kill")

    def pause(self) -> None:
        self._refuse("pause")

    def resume(self) -> None:
        self._refuse("resume")

    def close(self) -> None:
        """Nothing is ours, so nothing ends."""

    def _refuse(self, what: str) -> NoReturn:
        raise ServerFailed(
            f"will not {what} a server that is shared; tests that need that ask for one of their own (own_rabbitmq, own_redis)"
        )


def named_by_environment(kind: str) -> ExternalServer | None:
    """The server that the environment names, or None. Raises `ServerFailed` if it does not answer: naming one that is down is a mistake."""
    variable = ENVIRONMENT[kind]
    url = os.environ.get(variable)
    if not url:
        return None
    if not answers(kind, url):
        raise ServerFailed(f"{variable} is set, but no {kind} answers there")
    return ExternalServer(url)
