"""`sensorium visits …`, from the arguments to what is printed and deleted."""

from __future__ import annotations

import asyncio
import uuid
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from accounts.store import open_accounts
from analytics.commands import add_arguments, run
from analytics.queries import Audience
from analytics.store import Visits
from database.engine import Database
from sensorium.migrate import migrate
from shared.settings import Settings, read_settings
from shared.visits import Visit

Command = Callable[..., str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({}, database=f"sqlite+aiosqlite:///{tmp_path}/visits.db", secret_key="k" * 32)


async def fill(settings: Settings) -> str:
    """A stream with a visit at noon (UTC) of each of the first three days of 2026; its client_id."""
    await migrate(settings.database_url)
    async with open_accounts(settings) as accounts:
        await accounts.create_account("ann@example.com", "correct horse")
        stream = (await accounts.streams.add("ann@example.com", "Door")).client_id
    database = Database(settings.database_url, 5)
    visits = Visits(database, settings.senior_age)
    await visits.prepare()
    days = [datetime.fromisoformat(f"2026-01-0{day}T12:00Z").timestamp() for day in (1, 2, 3)]
    await visits.write([(stream, Visit(str(uuid.uuid4()), day, 5.0, closed=True)) for day in days])
    await database.close()
    return stream


@pytest.fixture
def stream(settings: Settings) -> str:
    return asyncio.run(fill(settings))


@pytest.fixture
def command(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command and returns what it printed; fails unless it ends with ``status``."""

    def call(*words: str, status: int = 0) -> str:
        parser = ArgumentParser()
        add_arguments(parser)
        assert asyncio.run(run(parser.parse_args(words), settings)) == status
        said = capsys.readouterr()
        return said.err if status else said.out

    return call


def left(settings: Settings, stream: str) -> int:
    async def count() -> int:
        database = Database(settings.database_url, 5)
        try:
            return await Audience(database).count(stream, 0, 2_000_000_000_000)
        finally:
            await database.close()

    return asyncio.run(count())


@pytest.mark.parametrize(
    ("before", "stay"),
    [("2026-01-01", 3), ("2026-01-02", 2), ("2026-01-02T12:00", 2), ("2026-01-02T14:00:01+02:00", 1), ("2026-01-02T12:00:00.001Z", 1)],
)
def test_visits_before_a_date(command: Command, settings: Settings, stream: str, before: str, stay: int) -> None:
    assert command("delete", stream, "--before", before) == f"{3 - stay} visits deleted\n"
    assert left(settings, stream) == stay


def test_all_visits(command: Command, settings: Settings, stream: str) -> None:
    assert command("delete", stream) == "3 visits deleted\n"
    assert left(settings, stream) == 0


def test_a_mistyped_stream_is_no_success(command: Command, settings: Settings, stream: str) -> None:
    assert "there is no stream nobody" in command("delete", "nobody", status=1)
    assert left(settings, stream) == 3


def test_a_mistyped_date_is_named(command: Command, stream: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command("delete", stream, "--before", "yesterday")
    assert "must be a date as in ISO 8601" in capsys.readouterr().err


def test_a_database_that_is_not_set_up(command: Command) -> None:
    assert "sensorium migrate" in command("delete", "nobody", status=1)
