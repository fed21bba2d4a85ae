"""`sensorium account …`, from the arguments to what is printed and stored."""

from __future__ import annotations

import asyncio
import io
import json
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pytest

from accounts.commands import add_arguments, run
from accounts.credentials import Tenant
from accounts.store import open_accounts
from sensorium.migrate import migrate
from shared.settings import Settings, read_settings
from shared.usage import DayOfUse, day_of

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
            return await accounts.credentials.verify(shown["client_id"], shown["access_token"])

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


def test_limits_of_plans(command: Command, ann: str) -> None:
    assert [line.split() for line in command("plans").splitlines()] == [
        ["developer", "3", "h", "of", "stream", "a", "month", "an", "account,", "1", "stream"],
        ["enterprise", "12", "h", "of", "stream", "a", "day", "each,", "any", "number", "of", "streams"],
    ]
    command("limits", "developer", "--hours", "0.5", "--streams", "2")
    command("limits", "enterprise", "--hours", "none")
    limits = json.loads(command("plans", "--json"))
    assert (limits["developer"]["allowance"]["seconds"], limits["developer"]["streams"]) == (1800, 2)
    assert (limits["enterprise"]["allowance"]["seconds"], limits["enterprise"]["streams"]) == (None, None)
    command("limits", "developer", "--hours", "1")
    assert json.loads(command("plans", "--json"))["developer"]["streams"] == 2
    assert "above 0" in command("limits", "developer", "--hours", "0.0001", status=1)


@pytest.mark.parametrize("hours", ["inf", "nan", "many", ""])
def test_a_limit_is_a_number_or_none(command: Command, capsys: pytest.CaptureFixture[str], hours: str) -> None:
    with pytest.raises(SystemExit):
        command("limits", "developer", "--hours", hours)
    assert "none for no limit" in capsys.readouterr().err


def test_use_of_plans(command: Command, settings: Settings, ann: str) -> None:
    command("create", "bob@example.com", "--password-stdin", "--plan", "enterprise", stdin="long enough")
    door = json.loads(command("add-stream", ann, "Door", "--json"))["client_id"]

    async def use() -> None:
        async with open_accounts(settings) as accounts:
            (account, _) = await accounts.accounts()
            await accounts.ledger.save([DayOfUse(account.id, door, day_of(time.time()), 61)])

    asyncio.run(use())
    assert [line.split()[0] for line in command("usage").splitlines()] == ["61", "0"]
    lines = command("usage", "ANN@example.com").splitlines()
    assert "of 10800 s account until" in lines[0]
    assert lines[1].split() == ["61", "s", door, "Door"]
    (told,) = json.loads(command("usage", ann, "--json"))
    assert (told["usage"]["used"], told["streams"][0]["used"]) == (61, 61)
    assert "no account" in command("usage", "nobody@example.com", status=1)


def test_privacy(command: Command, ann: str) -> None:
    door = json.loads(command("add-stream", ann, "Door", "--json"))["client_id"]
    assert set(json.loads(command("privacy", ann, door, "--json")).values()) == {True}
    command("privacy", ann, door, "--off", "gender", "age")
    assert [line.split() for line in command("privacy", ann, door, "--off", "expression", "--on", "age").splitlines()] == [
        ["age", "on"],
        ["expression", "off"],
        ["gender", "off"],
        ["identification", "on"],
    ]
    assert json.loads(command("streams", ann, "--json"))[0]["off"] == ["expression", "gender"]
    assert "no stream" in command("privacy", ann, "another", status=1)


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
