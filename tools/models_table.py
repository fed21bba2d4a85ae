"""Writes the table of models/README.md from models/manifest.toml:  python -m tools.models_table

`tests/unit/test_models_manifest.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from models.manifest import Artefact, Manifest, Model, load_manifest

PAGE = Path(__file__).parents[1] / "models" / "README.md"
BEGIN = "<!-- written by python -m tools.models_table -->\n"
END = "<!-- end -->\n"


def table(manifest: Manifest) -> str:
    """One row a model, then one a voice, but for voices that have no file of their own."""
    rows = ["| name | for | role | MB | licence | packages | other addresses |", "|---|---|---|---|---|---|---|"]
    rows += [row(model) for model in manifest.models]
    for voice in manifest.voices:
        rows += [row(file) for file in (voice.network, voice.config) if file.role == "voice"][:1]
    return "".join(f"{line}\n" for line in rows)


def row(model: Model) -> str:
    """Where it comes from is said of the originals, where it is made of some."""
    artefacts: tuple[Artefact, ...] = (model.artefact, *(model.conversion.originals if model.conversion else ()))
    packages = {f"`{package}`": None for artefact in artefacts for package in artefact.packages}
    addresses = {owner: None for artefact in artefacts for owner in owners(artefact)}
    size = f"{model.artefact.size / 1e6:.1f}"
    role = f"{model.role}, optional" if model.optional else model.role
    if model.stands_in_for:
        role += f" for {', '.join(model.stands_in_for)}"
    cells = (f"`{model.name}`", model.task, role, size, model.licence, ", ".join(packages), ", ".join(addresses))
    return f"| {' | '.join(cells)} |"


def owners(artefact: Artefact) -> Iterator[str]:
    """Of each address: the repository, or the host where the file is in none of GitHub."""
    for url in artefact.urls:
        host, *path = url.split("/")[2:]
        yield "/".join(path[:2]) if host == "raw.githubusercontent.com" else host


def page(text: str, manifest: Manifest) -> str:
    """The page with this manifest's table. Raises `ValueError` where the marks are missing."""
    head, _, rest = text.partition(BEGIN)
    _, mark, tail = rest.partition(END)
    if not mark:
        raise ValueError(f"{PAGE.name} has no marks for the table")
    return f"{head}{BEGIN}{table(manifest)}{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), load_manifest()), encoding="utf-8")
