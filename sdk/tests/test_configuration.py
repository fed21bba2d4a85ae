"""Configuration files, the command line of programs, and angusme."""

from __future__ import annotations

import builtins
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import angus.client
from angus import angusme
from angus._core import config
from angus.errors import ConfigurationError
from tests.conftest import DEMO, Scripted, answer

GIVEN = {"client_id": "me", "access_token": "secret-token", "default_root": "http://file"}


def write(path: Path, **content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user types, line by line."""
    typed: list[str] = []
    lines: Iterator[str] = iter(lambda: typed.pop(0) if typed else "", None)

    def say(question: str) -> str:
        print(question)
        return next(lines)

    monkeypatch.setattr(builtins, "input", say)
    return typed


def test_the_folder_s_configuration_goes_before_the_user_s(home: Path) -> None:
    write(home / ".angusdk" / "config.json", **GIVEN)
    assert angus.client.connect().endpoint == "http://file"
    write(Path("config.json"), **{**GIVEN, "default_root": "http://here"})
    assert angus.client.connect().endpoint == "http://here"
    assert angus.client.connect("http://argument").endpoint == "http://argument"


def test_credentials_given_leave_the_rest_as_configured(home: Path) -> None:
    write(home / ".angusdk" / "config.json", **GIVEN)
    root = angus.client.connect(client_id="you", access_token="other")
    assert root.endpoint == "http://file"
    assert root.conf.auth is not None
    plain = angus.client.connect()
    assert root.conf.auth._auth_header != plain.conf.auth._auth_header  # type: ignore[union-attr]


def test_a_program_s_command_line_goes_before_the_file(home: Path, tmp_path: Path) -> None:
    write(home / ".angusdk" / "config.json", **GIVEN)
    conf = angus.client.get_default_configuration(["-r", "http://line", "-id", "a", "-a", "b", "-ca", "x.pem", "-v"])
    assert (conf.default_root, conf.verify) == ("http://line", "x.pem")
    write(tmp_path / "other.json", **{**GIVEN, "default_root": "http://other"})
    assert angus.client.get_default_configuration(["-c", str(tmp_path / "other.json")]).default_root == "http://other"
    with pytest.raises(ConfigurationError, match=r"none\.json"):
        angus.client.get_default_configuration(["-c", "none.json"])


@pytest.mark.parametrize("content", ["{", "[]", '{"client_id": 5}', '{"ca_path": "nowhere.pem"}'])
def test_a_broken_file_names_itself_and_what_mends_it(content: str) -> None:
    Path("config.json").write_text(content)
    with pytest.raises(ConfigurationError, match="angusme"):
        angus.client.connect()


def test_the_certificates_of_2016_are_not_used(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle = home / ".angusdk" / "certificate.pem"
    write(home / ".angusdk" / "config.json", **GIVEN, ca_path=str(bundle))
    bundle.write_text(f"-----BEGIN CERTIFICATE-----\n{config._OLD_BUNDLE}…\n")
    assert angus.client.connect().conf.verify is True
    assert "2016" in caplog.text
    bundle.write_text("one's own")
    assert angus.client.connect().conf.verify == str(bundle)


def test_angusme_asks_and_writes_what_only_the_user_may_read(
    home: Path, answers: list[str], capsys: pytest.CaptureFixture[str], scripted: Scripted
) -> None:
    answers += [scripted.url, *DEMO]
    assert angusme.main([]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Please choose your gateway (current: http://127.0.0.1:8000): \nPlease copy/paste your client_id: \n")
    path = home / ".angusdk" / "config.json"
    assert json.loads(path.read_text()) == {"client_id": DEMO[0], "access_token": DEMO[1], "default_root": scripted.url}
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    scripted.on("POST", "/services/dummy/1/jobs", answer(201, {"url": "u", "status": 201, "echo": "OK"}))
    assert angusme.main(["-t"]) == 0
    assert capsys.readouterr().out == f"Server: {scripted.url}\nStatus: OK\n"


def test_angusme_keeps_what_is_not_answered_and_asks_before_it_writes(
    home: Path, answers: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / ".angusdk" / "config.json"
    write(path, **GIVEN)
    answers += ["n"]
    assert angusme.main([]) == 0
    assert json.loads(path.read_text()) == GIVEN
    answers += ["y", "http://new", "", ""]
    assert angusme.main([]) == 0
    assert json.loads(path.read_text()) == {**GIVEN, "default_root": "http://new"}
    assert "secret-token" not in capsys.readouterr().out


def test_angusme_shows_hides_and_deletes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home / ".angusdk" / "config.json", **GIVEN)
    assert angusme.main(["-s"]) == 0
    said = capsys.readouterr().out
    assert "http://file" in said
    assert "client_id: me" in said
    assert "secret-token" not in said
    assert angusme.main(["-d"]) == 0
    assert not (home / ".angusdk" / "config.json").exists()
    assert angusme.main(["-s"]) == 0
    assert "No angus configuration" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "document", "says"),
    [(401, {"error": "wrong credentials"}, "wrong credentials"), (201, {"url": "u", "status": 201}, "right address")],
)
def test_angusme_says_what_is_wrong(
    scripted: Scripted, capsys: pytest.CaptureFixture[str], status: int, document: object, says: str
) -> None:
    write(Path("config.json"), **{**GIVEN, "default_root": scripted.url})
    scripted.on("POST", "/services/dummy/1/jobs", answer(status, document))
    assert angusme.main(["-t"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("Status: KO\n")
    assert says in said


def test_angusme_without_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert angusme.main(["-t"]) == 1
    assert "angusme" in capsys.readouterr().out
