"""What an operator types, and what it says when something is missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from shared.settings import Settings, SettingsError, describe, example, read_settings
from tests.integration.processes import ROOT, command
from tests.support import forked


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SENSORIUM_")}
    return forked.run(arguments, {**environment, **{f"SENSORIUM_{k}": v for k, v in settings.items()}}, ROOT)


def test_the_module_is_the_command() -> None:
    done = subprocess.run(command("settings", "--example"), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == example()


def test_the_worker_lists_and_checks_its_services() -> None:
    listed = run("worker", "--list")
    assert listed.returncode == 0
    assert "face_detection" in listed.stdout
    checked = run("worker", "dummy", "--check")
    assert (checked.returncode, "works" in checked.stdout) == (0, True)


def test_a_missing_model_names_the_command_that_mends_it(tmp_path: Path) -> None:
    done = run("worker", "face_detection", "--check", MODELS_DIR=str(tmp_path))
    assert done.returncode == 69
    assert "sensorium models pull" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "complaint"),
    [
        (("worker", "nothing"), {}, "there is no service 'nothing'"),
        (("worker",), {}, "name the services"),
        (("gateway",), {}, "SENSORIUM_SECRET_KEY is required"),
        (("settings",), {"BROKR": "x"}, "SENSORIUM_BROKR is not a setting"),
        (("settings",), {"PORT": "seventy"}, "SENSORIUM_PORT"),
        (("gateway",), {"SECRET_KEY": "k" * 32, "BROKER": "carrier-pigeon://x"}, "SENSORIUM_BROKER"),
        (("gateway",), {"SECRET_KEY": "short"}, "SENSORIUM_SECRET_KEY"),
    ],
)
def test_a_mistake_is_named_in_one_line(arguments: tuple[str, ...], settings: dict[str, str], complaint: str) -> None:
    done = run(*arguments, **settings)
    assert done.returncode != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_secrets_are_masked() -> None:
    done = run("settings", SECRET_KEY="k" * 32, BROKER="amqp://user:password1@host/", DEMO_PASSWORD="password2")
    assert "SENSORIUM_BROKER=amqp://user:**********@host/" in done.stdout
    assert "password1" not in done.stdout
    assert "password2" not in done.stdout
    assert "k" * 32 not in done.stdout


def test_the_example_lists_every_setting_with_its_default() -> None:
    assert example().count("#SENSORIUM_") == len(Settings.model_fields)
    uncommented = {line[1:].split("=", 1)[0]: line.split("=", 1)[1] for line in example().splitlines() if line.startswith("#SENSORIUM_")}
    assert list(describe(read_settings(uncommented))) == list(describe(read_settings({})))


def test_an_empty_variable_is_not_set() -> None:
    assert read_settings({"SENSORIUM_PORT": ""}).port == 8000
    with pytest.raises(SettingsError):
        read_settings({"sensorium_port": "1", "SENSORIUM_Port": "1"})
