"""Writes the table of models/README.md from models/manifest.toml:  python -m tools.models_table

`tests/unit/test_models_manifest.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from models.manifest import Artefact, Manifest, Model, load_manifest

PAGE = Path(__file__).parents[1] / "models" / "README.md"
BEGIN = "<!-- written by python -m tools.models_table -->\n"
END = "<!-- end -->\n"


def table(manifest: Manifest) -> str:
    """One row a model, then one a voice, but for voices that have no file of their own; then what has one source only."""
    rows = ["| name | for | role | MB | licence | packages | other addresses |", "|---|---|---|---|---|---|---|"]
    rows += [row(model) for model in manifest.models]
    for voice in manifest.voices:
        rows += [row(file) for file in (voice.network, voice.config) if file.role == "voice"][:1]
    return "".join(f"{line}\n" for line in [*rows, "", scarcity(manifest)])


def scarcity(manifest: Manifest) -> str:
    """Which models, voices aside, have a single source for something that they are made of.

    That is an owner, who can delete it, or a package.
    """
    single = [(model, places[0]) for model in manifest.models for places in map(sources, made_of(model)) if len(places) == 1]
    owned = dict.fromkeys(f"`{model.name}`" for model, (kind, _) in single if kind == "address")
    packed = dict.fromkeys(place for _, (kind, place) in single if kind == "package")
    alone = f"in one package and nowhere else, what comes from {_listed(packed)}"
    return f"One source only: of one owner, in no package, {_listed(owned)}; {alone}."


def made_of(model: Model) -> Iterator[Artefact]:
    """Its file or, where that is at no source, the originals that it is converted from."""
    if model.artefact.obtainable or model.conversion is None:
        yield model.artefact
    else:
        yield from model.conversion.originals


def sources(artefact: Artefact) -> list[tuple[str, str]]:
    """(package or address, the package or the owner), each once."""
    found = [("package", f"`{package}`") for package in artefact.packages]
    return list(dict.fromkeys([*found, *(("address", owner) for owner in owners(artefact))]))


def _listed(names: Iterable[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


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
