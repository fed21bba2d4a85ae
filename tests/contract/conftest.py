"""Which event loop the contract tests run on, and the databases that they run against."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import uvloop
from argon2 import PasswordHasher


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id with the least parameters: the tests log in a thousand times. Those of production are tested in `tests/unit`."""
    monkeypatch.setattr("accounts.passwords.PasswordHasher", partial(PasswordHasher, time_cost=1, memory_cost=64, parallelism=1))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: SQLite always, PostgreSQL where one can be had."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql_database"))
    tmp_path.joinpath("folder of it").mkdir()
    return f"sqlite+aiosqlite:///{tmp_path}/folder of it/accounts%20.db"


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The server's border is tested on the loop that the entry points use: its transports are others than asyncio's."""
    if "/test_http_" in item.nodeid:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
