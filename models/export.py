"""`sensorium models export DIR`: everything that another machine needs, in a folder that can be carried there.

The files lie as in a models directory, so that the folder is a mirror for a machine that reaches nothing (``SENSORIUM_MODELS_MIRROR``),
served over HTTP too. Converted files are in it as they are installed: no converter is needed there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from models.manifest import HERE, Artefact, Manifest, Model, State
from models.pull import WORK

LICENCES = "LICENCES.md"
_TEXTS = ("NOTICE", "LICENSE")
_HEAD = """# Weights for Sensorium, and their licences

On the other machine:

    SENSORIUM_MODELS_MIRROR=/this/folder sensorium models pull --needed

`NOTICE` names the authors and has the text of the MIT licence, `LICENSE` is the text of the Apache licence 2.0. Who passes this folder on
passes on these terms too.

| file | model | licence | taken from | remarks |
|---|---|---|---|---|
"""


def wanted(manifest: Manifest, directory: Path, voices: Iterable[str]) -> tuple[Model, ...]:
    """All models, the voices named, and of the other voices those that are installed or lie in a package."""
    names = {model.name: None for model in manifest.select(())}
    for voice in manifest.voices:
        here = all(file.state(directory, read=False) is State.INSTALLED for file in voice.files)
        if voice.name in voices or here or all(file.in_registries for file in voice.files):
            names[voice.name] = None
    return manifest.select(names)


def finish(folder: Path, models: Iterable[Model], cards: dict[str, str]) -> int:
    """Writes manifest and licences beside the files that are in ``folder``. Returns their bytes, all together.

    ``cards``: for voices, by the name of a file's model, the address of what their makers say. Raises `OSError`.
    """
    shutil.rmtree(folder / WORK, ignore_errors=True)
    there = [model for model in models if model.state(folder, read=False) is State.INSTALLED]
    shutil.copyfile(HERE / "manifest.toml", folder / "manifest.toml")
    for name in _TEXTS:
        if (text := _licence_text(name)) is not None:
            (folder / name).write_text(text, encoding="utf-8")
    rows = [_row(model, cards.get(model.name, "")) for model in there]
    (folder / LICENCES).write_text(_HEAD + "".join(rows), encoding="utf-8")
    return sum(model.artefact.size for model in there)


def _row(model: Model, card: str) -> str:
    remarks = "; ".join(filter(None, [model.licence_note, card and f"card: {card}"]))
    return f"| {model.artefact.file} | {model.name} | {model.licence} | {_origin(model)} | {remarks} |\n"


def _origin(model: Model) -> str:
    """Every source, in the order of the manifest."""
    artefacts: tuple[Artefact, ...] = (model.artefact, *(model.conversion.originals if model.conversion else ()))
    found: dict[str, None] = {}
    for artefact in artefacts:
        if artefact.source is not None:
            found[f"{artefact.source.repository}@{artefact.source.commit[:12]}"] = None
        found.update(dict.fromkeys(f"{package} ({package.licence})" for package in artefact.packages))
        if artefact.source is None and not artefact.packages:
            found.update(dict.fromkeys(artefact.urls))
    return ", ".join(found)


def _licence_text(name: str) -> str | None:
    """Of a checkout, or of the installed package, which has it among its licence files."""
    if (beside := HERE.parent / name).is_file():
        return beside.read_text(encoding="utf-8")
    try:
        files = distribution("sensorium").files or []
    except PackageNotFoundError:
        return None
    return next((file.read_text(encoding="utf-8") for file in files if file.name == name), None)
