from __future__ import annotations

import pytest

from models.manifest import load_manifest
from models.restrict import SOURCES, restricted
from sensorium.cli import main


@pytest.mark.parametrize(
    ("sources", "packages", "addresses"), [(("packages",), True, False), (("addresses",), False, True), ((), False, False)]
)
def test_sources_that_are_not_named_are_left_out(sources: tuple[str, ...], packages: bool, addresses: bool) -> None:
    manifest = restricted(load_manifest(), sources)
    artefacts = [model.artefact for model in manifest.models]
    artefacts += [original for model in manifest.models if model.conversion for original in model.conversion.originals]
    artefacts += [file.artefact for voice in manifest.voices for file in voice.files]
    assert any(artefact.packages for artefact in artefacts) is packages
    assert any(artefact.urls for artefact in artefacts) is addresses


def test_with_all_sources_nothing_is_left_out() -> None:
    assert restricted(load_manifest(), SOURCES) == load_manifest()


def test_a_source_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SENSORIUM_MODEL_SOURCES", "packages,moon")
    assert main(["models", "list"]) != 0
    assert "'moon' is none of mirror, packages, addresses" in capsys.readouterr().err
