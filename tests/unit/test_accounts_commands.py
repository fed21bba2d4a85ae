"""`sensorium account …`, from the arguments to what is printed and stored."""

from __future__ import annotations

import asyncio
import io
import json
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pytest

from accounts.commands import add_arguments, run
from accounts.credentials import Tenant
from accounts.store import open_accounts
from database.migrate import migrate
from shared.settings import Settings, read_settings

Command = Callable[..., str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({}, database=f"sqlite+aiosqlite:///{tmp_path}/accounts.db", secret_key="k" * 32)


@pytest.fixture
def command(settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on a migrated database and returns what it printed; fails unless it ends with ``status``."""
    asyncio.run(migrate(settings.database))

    def call(*words: str, stdin: str = "", status: int = 0) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        parser = ArgumentParser()
        add_arguments(parser)
        assert asyncio.run(run(parser.parse_args(words), settings)) == status
        said = capsys.readouterr()
        return said.err if status else said.out

    return call


@pytest.fixture
def ann(command: Command) -> str:
    command("create", "Ann@example.com", "--password-stdin", stdin="correct horse\n")
    return "ann@example.com"


def test_a_new_account_can_sign_in(command: Command, settings: Settings, ann: str) -> None:
    async def sign_in() -> bool:
        async with open_accounts(settings) as accounts:
            return await accounts.check_password(ann, "correct horse") is not None

    assert asyncio.run(sign_in())


def test_list(command: Command, ann: str) -> None:
    command("create", "root@example.com", "--password-stdin", "--plan", "enterprise", "--operator", stdin="long enough")
    lines = command("list").splitlines()
    assert [line.split()[1:] for line in lines] == [["developer", "Ann@example.com"], ["enterprise", "root@example.com", "operator"]]
    assert [account["operator"] for account in json.loads(command("list", "--json"))] == [False, True]


def test_credentials_are_shown_and_work(command: Command, settings: Settings, ann: str) -> None:
    shown = dict(line.split(": ") for line in command("add-stream", ann, "Door").splitlines())

    async def verify() -> Tenant | None:
        async with open_accounts(settings) as accounts:
            return await accounts.verify(shown["client_id"], shown["access_token"])

    tenant = asyncio.run(verify())
    assert tenant is not None
    assert tenant.id == shown["client_id"]
    listed = command("streams", ann)
    assert shown["client_id"] in listed
    assert "Door" in listed
    assert shown["access_token"] not in listed


def test_json(command: Command, ann: str) -> None:
    shown = json.loads(command("add-stream", ann, "Door", "--json"))
    assert set(shown) == {"client_id", "access_token"}
    assert [stream["client_id"] for stream in json.loads(command("streams", ann, "--json"))] == [shown["client_id"]]


def test_plan_allows_a_second_stream(command: Command, ann: str) -> None:
    command("add-stream", ann, "Door")
    assert "one stream" in command("add-stream", ann, "Window", status=1)
    command("plan", ann, "enterprise")
    command("add-stream", ann, "Window")
    assert len(command("streams", ann).splitlines()) == 2


def test_a_forgotten_password_is_replaced(command: Command, settings: Settings, ann: str) -> None:
    async def sign_in(password: str) -> bool:
        async with open_accounts(settings) as accounts:
            return await accounts.check_password(ann, password) is not None

    assert "password changed" in command("password", ann, "--password-stdin", stdin="another horse\n")
    assert [asyncio.run(sign_in(password)) for password in ("correct horse", "another horse")] == [False, True]
    assert "8 to 1024" in command("password", ann, "--password-stdin", stdin="short", status=1)
    assert "no account" in command("password", "bob@example.com", "--password-stdin", stdin="another horse", status=1)


def test_the_role_of_an_operator_is_granted_and_taken(command: Command, ann: str) -> None:
    command("operator", ann)
    assert command("list").split()[-1] == "operator"
    command("operator", ann, "--revoke")
    assert command("list").split()[-1] != "operator"
    assert "no account" in command("operator", "bob@example.com", status=1)


def test_delete(command: Command, ann: str) -> None:
    command("delete", ann)
    assert command("list") == ""
    assert "no account" in command("delete", ann, status=1)


def test_refusals_are_sentences(command: Command, ann: str) -> None:
    assert "already" in command("create", "ANN@example.com", "--password-stdin", stdin="long enough", status=1)
    assert "8 to 1024" in command("create", "bob@example.com", "--password-stdin", stdin="short", status=1)
    assert "--password-stdin" in command("create", "bob@example.com", status=1)
    assert "not an e-mail" in command("create", "bob", "--password-stdin", stdin="long enough", status=1)
    assert "no account" in command("add-stream", "bob@example.com", "Door", status=1)


def test_database_that_is_not_set_up_says_how(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    add_arguments(parser)
    assert asyncio.run(run(parser.parse_args(["list"]), settings)) == 1
    assert "sensorium migrate" in capsys.readouterr().err
