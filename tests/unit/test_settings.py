"""The settings: what is misspelt or out of range is refused by name, and nothing secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from annotated_types import Ge, Gt, Le
from pydantic import ValidationError

from shared.settings import PREFIX, Settings, SettingsError, describe, example, read_settings

SECRET = "0123456789abcdef0123456789abcdef"


def beyond() -> list[tuple[str, float]]:
    """Each bounded setting with a value just outside its bound."""
    found: list[tuple[str, float]] = []
    for name, field in Settings.model_fields.items():
        for bound in field.metadata:
            match bound:
                case Ge(ge=least):
                    found.append((name, least - 1))  # type: ignore[operator]
                case Gt(gt=least):
                    found.append((name, least))  # type: ignore[arg-type]
                case Le(le=most):
                    found.append((name, most + 1))  # type: ignore[operator]
    return found


def test_nothing_given_is_the_defaults() -> None:
    settings = read_settings({"PATH": "/bin", "SENSORIUMX": "1"})
    assert (settings.broker, settings.store, settings.port) == ("memory://", "memory://", 8000)
    assert settings.database_url == "sqlite+aiosqlite:///var/sensorium.db"


def test_what_is_given_is_read() -> None:
    settings = read_settings({"SENSORIUM_PORT": "9000", "SENSORIUM_DATA_DIR": "/data", "SENSORIUM_HOLD_SECONDS": "0.5"})
    assert (settings.port, settings.data_dir, settings.hold_seconds) == (9000, Path("/data"), 0.5)
    assert settings.database_url == "sqlite+aiosqlite:////data/sensorium.db"


def test_an_override_comes_before_the_environment_and_none_is_no_override() -> None:
    environment = {"SENSORIUM_PORT": "9000", "SENSORIUM_HOST": "::1"}
    settings = read_settings(environment, port=9001, host=None)
    assert (settings.port, settings.host) == (9001, "::1")


def test_empty_means_not_given() -> None:
    assert read_settings({"SENSORIUM_PORT": "", "SENSORIUM_SECRET_KEY": ""}) == read_settings({})


@pytest.mark.parametrize("name", ["SENSORIUM_PROT", "SENSORIUM_", "SENSORIUM_Port", "SENSORIUM_port", "SENSORIUM_BROKER_URL"])
@pytest.mark.parametrize("value", ["", "1"])
def test_a_misspelt_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({name: value})


def test_the_variables_of_the_tests_are_nobodys_mistake() -> None:
    assert read_settings({"SENSORIUM_TEST_REDIS": "redis://", "SENSORIUM_TESTDATA": "/data"}) == read_settings({})


@pytest.mark.parametrize(("name", "value"), beyond())
def test_beyond_a_bound_is_refused_by_name(name: str, value: float) -> None:
    variable = f"{PREFIX}{name.upper()}"
    with pytest.raises(SettingsError, match=f"^{variable}: "):
        read_settings({variable: str(value)})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SENSORIUM_PORT", "http"),
        ("SENSORIUM_PORT", "80.5"),
        ("SENSORIUM_HOLD_SECONDS", "nan"),
        ("SENSORIUM_DEVICE", "tpu"),
        ("SENSORIUM_LOG_LEVEL", "loud"),
        ("SENSORIUM_NAMESPACE", "a.b"),
        ("SENSORIUM_NAMESPACE", "x" * 65),
        ("SENSORIUM_SECRET_KEY", SECRET[:-1]),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}: ") as refused:
        read_settings({variable: value})
    assert SECRET[:-1] not in str(refused.value)


def test_every_number_has_a_bound() -> None:
    """A setting without one is a limit that can be set to something that is none."""
    numbers = {name for name, field in Settings.model_fields.items() if field.annotation in (int, float)}
    assert numbers == {name for name, _ in beyond()} & numbers


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        read_settings({}).port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("SENSORIUM_SECRET_KEY", SECRET, "**********"),
        ("SENSORIUM_DEMO_PASSWORD", "secret", "**********"),
        ("SENSORIUM_BROKER", "amqp://user:secret@host:5672/v", "amqp://user:**********@host:5672/v"),
        ("SENSORIUM_STORE", "redis://:se:c@ret@host/0", "redis://:**********@host/0"),
        ("SENSORIUM_STORE", "redis://host/0?password=secret&db=1", "redis://host/0?password=**********&db=1"),
        ("SENSORIUM_DATABASE", "postgresql+asyncpg://u:secret@h/n", "postgresql+asyncpg://u:**********@h/n"),
        ("SENSORIUM_BROKER", "amqp://host/", "amqp://host/"),
    ],
)
def test_nothing_secret_is_shown(variable: str, value: str, shown: str) -> None:
    described = {name: text for name, text, _ in describe(read_settings({variable: value}))}
    assert described[variable] == shown


def test_the_example_says_the_defaults() -> None:
    lines = [line.removeprefix("#") for line in example().splitlines() if line.startswith("#SENSORIUM_")]
    assert len(lines) == len(Settings.model_fields)
    assert read_settings(dict(line.split("=", 1) for line in lines)) == read_settings({})
