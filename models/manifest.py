"""`manifest.toml` as values.

Cheap to import (standard library only): the gateway asks it which weights a service needs, the workers where they lie.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from models.sources import PackageSource, parse_package

HERE = Path(__file__).resolve().parent
DEFAULT_DIRECTORY = HERE / "weights"
_DIGESTS = {"sha256": re.compile(r"[0-9a-f]{64}"), "md5": re.compile(r"[0-9a-f]{32}")}


class ManifestError(ValueError):
    """The manifest contradicts itself or misses something; the message names the entry."""


class UnknownModel(KeyError):
    """No model of this name is in the manifest."""

    def __str__(self) -> str:
        return str(self.args[0])


class State(StrEnum):
    """What lies at a model's place in the models directory."""

    INSTALLED = "installed"
    MISSING = "missing"
    CORRUPT = "corrupt"


@dataclass(frozen=True, slots=True)
class Source:
    """Where bytes were first taken from: ``repository`` is owner/name on GitHub, ``commit`` the full hash."""

    repository: str
    commit: str
    path: str


@dataclass(frozen=True, slots=True)
class Artefact:
    """A file with known content that can be downloaded. ``size`` in bytes, ``sha256`` in hex, ``packages`` and ``urls`` in order of trust.

    ``md5`` stands in where the publisher says nothing better, and ``sha256`` is empty then: it finds damage, not malice.
    """

    file: str
    size: int
    sha256: str
    urls: tuple[str, ...]
    source: Source | None = None
    md5: str = ""
    packages: tuple[PackageSource, ...] = ()

    @property
    def base_name(self) -> str:
        return PurePosixPath(self.file).name

    @property
    def algorithm(self) -> str:
        """Of the digest: ``sha256`` or ``md5``."""
        return "sha256" if self.sha256 else "md5"

    @property
    def digest(self) -> str:
        """In hex: what the content is known by."""
        return self.sha256 or self.md5

    @property
    def obtainable(self) -> bool:
        """Whether it can be had as it is from somewhere: a package or an address."""
        return bool(self.packages or self.urls)

    def inside(self, package: PackageSource) -> Artefact:
        """The file that lies in ``package``: this one, or one of other bytes of which a conversion makes the same."""
        if not package.file_sha256:
            return self
        return replace(self, size=package.file_size, sha256=package.file_sha256, md5="")

    def matches(self, content: bytes) -> bool:
        """Whether this is the content."""
        return len(content) == self.size and _new_hash(self.algorithm, content).hexdigest() == self.digest


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a model is made of ``originals``: ``program`` is a key of `models.convert.PROGRAMS`, ``arguments`` its keywords."""

    program: str
    arguments: Mapping[str, Any]
    originals: tuple[Artefact, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the manifest.

    ``role``: ``primary``; ``stand-in`` for networks that answer until a primary one can be had; ``alternative`` for those that no
    service opens unless it is asked to. ``name`` is what services and commands say, ``artefact`` the file as installed (its ``file`` is relative to the models
    directory), ``conversion`` is set where the public address holds another format; ``artefact.urls`` is empty then.
    """

    name: str
    title: str
    task: str
    role: str
    licence: str
    licence_note: str
    artefact: Artefact
    conversion: Conversion | None = None
    #: Names of the models that this one answers in place of, where they are not installed or it is preferred.
    #: Its ``role`` is ``stand-in`` then.
    stands_in_for: tuple[str, ...] = ()
    #: Names of models without which this one is of no use; a stand-in of theirs does as well.
    companions: tuple[str, ...] = ()
    #: Whether the services that use it answer without it too, with less.
    optional: bool = False

    @property
    def in_registries(self) -> bool:
        """Whether package registries alone are enough to install it."""
        originals = self.conversion.originals if self.conversion is not None else ()
        return bool(self.artefact.packages) or (bool(originals) and all(original.packages for original in originals))

    @property
    def source_kinds(self) -> tuple[str, ...]:
        """Of ``packages`` and ``addresses``, those that are enough to install it, in the order in which they are asked."""
        originals = self.conversion.originals if self.conversion is not None else ()
        addresses = self.artefact.urls or (originals and all(original.urls for original in originals))
        found = {"packages": self.in_registries, "addresses": bool(addresses)}
        return tuple(kind for kind, enough in found.items() if enough)

    def path(self, directory: Path) -> Path:
        """Where the file lies once it is installed in ``directory``."""
        return directory / self.artefact.file

    def state(self, directory: Path, *, read: bool = True) -> State:
        """What lies there. ``read=False`` compares sizes only: instant, and enough for a listing."""
        return file_state(self.path(directory), self.artefact, read=read)


@dataclass(frozen=True, slots=True)
class Voice:
    """A neural voice for one ``language`` (``en-US``).

    ``engine``: which room speaks with it (``piper``, ``hibari``, ``kokoro``); ``rate`` of its samples in Hz. ``card``: what its makers say about
    data and licence. ``default``: whether it is pulled with the models of its service, unasked.
    """

    name: str
    language: str
    engine: str
    rate: int
    card: str
    licence: str
    default: bool
    network: Model
    #: What goes with the network: its settings, the numbers of its phonemes, or the style of this voice.
    config: Model
    #: Other models without which it does not speak: dictionaries, and the networks that help them.
    needs: tuple[Model, ...] = ()

    @property
    def files(self) -> tuple[Model, ...]:
        """What is pulled, in this order: when the network is there, so is all that it needs."""
        return *self.needs, self.config, self.network


@dataclass(frozen=True, slots=True)
class Manifest:
    """All models and, beside them, the voices, in the order of the file.

    The files that only one voice has (role ``voice``) are not among the models; those of default voices are pulled with them.
    """

    models: tuple[Model, ...]
    voices: tuple[Voice, ...] = ()
    _by_name: Mapping[str, Model] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = (file for voice in self.voices for file in voice.files if file.role == "voice")
        everything = (*self.models, *own)
        by_name = {model.name: model for model in everything}
        if len(by_name) != len(everything):
            raise ManifestError("two models have the same name")
        if len({model.artefact.file for model in everything}) != len(everything):
            raise ManifestError("two models have the same file")
        object.__setattr__(self, "_by_name", by_name)
        for model in everything:
            if (model.role == "stand-in") != bool(model.stands_in_for):
                raise ManifestError(f"{model.name}: the role stand-in goes with stands_in_for")
            for other in (*model.stands_in_for, *model.companions):
                if other not in by_name:
                    raise ManifestError(f"{model.name} refers to {other}, which is not in the manifest")

    def voices_of(self, language: str) -> tuple[Voice, ...]:
        """The voices of a language, the preferred one first."""
        return tuple(voice for voice in self.voices if voice.language == language)

    def default_voice_files(self) -> tuple[Model, ...]:
        """Of the default voices, each once."""
        return tuple({file.name: file for voice in self.voices if voice.default for file in voice.files}.values())

    def get(self, name: str) -> Model:
        """Raises `UnknownModel` with the names that come near."""
        try:
            return self._by_name[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._by_name, n=3, cutoff=0.5)
            hint = f"; did you mean {', '.join(near)}?" if near else "; see: sensorium models list"
            raise UnknownModel(f"no model is called {name!r}{hint}") from None

    def candidates(self, name: str, prefer: Sequence[str] = ()) -> tuple[Model, ...]:
        """The model called ``name`` and those that stand in for it, best first. Raises `UnknownModel`.

        The named one comes first and its stand-ins follow in the order of the manifest, but for names in ``prefer``, which come
        before all others in the order that they have there.
        """
        found = (self.get(name), *(model for model in self.models if name in model.stands_in_for))
        rank = {preferred: place for place, preferred in enumerate(prefer)}
        return tuple(sorted(found, key=lambda model: rank.get(model.name, len(rank))))

    def best(
        self, name: str, there: Callable[[Model], bool], prefer: Sequence[str] = (), above: frozenset[str] = frozenset()
    ) -> Model | None:
        """Of `candidates`, the first that is there, and for each companion of it the companion or a stand-in for that one.

        ``above``: names that are being answered already, for companions of companions. Raises `UnknownModel`.
        """
        above = above | {name}
        for model in self.candidates(name, prefer):
            if there(model) and all(other in above or self.best(other, there, prefer, above) for other in model.companions):
                return model
        return None

    def select(self, names: Iterable[str]) -> tuple[Model, ...]:
        """The named models without repetition; all models and the default voices when there are no names. Raises `UnknownModel`.

        The name of a voice stands for all of its files.
        """
        voices = {voice.name: voice for voice in self.voices}
        wanted: dict[str, Model] = {}
        for name in names:
            files = voices[name].files if name in voices else (self.get(name),)
            wanted.update((model.name, model) for model in files)
        everything = {model.name: model for model in (*self.models, *self.default_voice_files())}
        return tuple((wanted or everything).values())


def _new_hash(algorithm: str, content: bytes = b"") -> hashlib._Hash:
    return hashlib.new(algorithm, content, usedforsecurity=algorithm != "md5")


def digest_of(path: Path, algorithm: str) -> str:
    """The file's digest in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: _new_hash(algorithm)).hexdigest()


def file_state(path: Path, artefact: Artefact, *, read: bool = True) -> State:
    """Compares size first, so that a wrong file rarely has to be read."""
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return State.MISSING
    if size != artefact.size or not path.is_file():
        return State.CORRUPT
    return State.INSTALLED if not read or digest_of(path, artefact.algorithm) == artefact.digest else State.CORRUPT


def _source(table: Mapping[str, str] | None) -> Source | None:
    return Source(**table) if table else None


def _artefact(table: Mapping[str, Any], where: str) -> Artefact:
    file = PurePosixPath(table["file"])
    if file.is_absolute() or ".." in file.parts:
        raise ManifestError(f"{where}: {file} leaves the models directory")
    algorithm = "md5" if "md5" in table and "sha256" not in table else "sha256"
    if not _DIGESTS[algorithm].fullmatch(table[algorithm]):
        raise ManifestError(f"{where}: {algorithm} must be {64 if algorithm == 'sha256' else 32} hex digits")
    digests = {"sha256": "", algorithm: table[algorithm]}
    urls = tuple(table.get("urls", ()))
    try:
        packages = tuple(parse_package(package) for package in table.get("package", ()))
    except ValueError as error:
        raise ManifestError(f"{where}: {error}") from error
    return Artefact(str(file), int(table["size"]), urls=urls, source=_source(table.get("source")), packages=packages, **digests)


def _conversion(table: Mapping[str, Any], where: str) -> Conversion | None:
    if "convert" not in table:
        return None
    arguments = dict(table["convert"])
    originals = tuple(_artefact(original, where) for original in table.get("original", ()))
    if not originals or not all(original.obtainable for original in originals):
        raise ManifestError(f"{where}: a conversion needs originals with addresses or packages")
    if len({original.base_name for original in originals}) != len(originals):
        raise ManifestError(f"{where}: two originals have the same name")
    return Conversion(arguments.pop("program"), arguments, originals)


def _model(table: Mapping[str, Any]) -> Model:
    where = str(table.get("name", "a model without a name"))
    try:
        artefact, conversion = _artefact(table, where), _conversion(table, where)
        if not artefact.obtainable and conversion is None:
            raise ManifestError(f"{where}: neither an address nor a package nor a conversion")
        if any(package.file_sha256 for package in artefact.packages):
            raise ManifestError(f"{where}: file_sha256 is for originals of a conversion")
        return Model(
            name=table["name"],
            title=table["title"],
            task=table["task"],
            role=table["role"],
            licence=table["licence"],
            licence_note=table.get("licence_note", ""),
            artefact=artefact,
            conversion=conversion,
            stands_in_for=tuple(table.get("stands_in_for", ())),
            companions=tuple(table.get("companions", ())),
            optional=bool(table.get("optional", False)),
        )
    except (KeyError, TypeError) as error:
        raise ManifestError(f"{where}: {error}") from error


def _voice(table: Mapping[str, Any], models: Mapping[str, Model]) -> Voice:
    """``models``: what the voice may refer to by name."""
    where = str(table.get("name", "a voice without a name"))

    def file(part: str, name: str) -> Model:
        given = table[part]
        if isinstance(given, str):
            return models[given]
        return Model(
            name=name,
            title=f"{table.get('engine', 'piper').capitalize()} {where}",
            task=f"speech in {table['language']}" if part == "network" else f"settings of {where}",
            role="voice",
            licence=table["licence"],
            licence_note=table.get("licence_note", ""),
            artefact=_artefact(given, where),
            optional=True,
        )

    try:
        return Voice(
            name=where,
            language=table["language"],
            engine=table.get("engine", "piper"),
            rate=int(table.get("rate", 22_050)),
            card=table["card"],
            licence=table["licence"],
            default=bool(table.get("default", False)),
            network=file("network", where),
            config=file("config", f"{where}-config"),
            needs=tuple(models[name] for name in table.get("needs", ())),
        )
    except (KeyError, TypeError) as error:
        raise ManifestError(f"{where}: {error}") from error


def parse_manifest(text: str) -> Manifest:
    """Raises `ManifestError` (also for text that is not TOML)."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(str(error)) from error
    if document.get("schema") != 1:
        raise ManifestError("this program reads schema 1")
    models = tuple(_model(table) for table in document.get("model", ()))
    by_name = {model.name: model for model in models}
    return Manifest(models, tuple(_voice(table, by_name) for table in document.get("voice", ())))


@lru_cache(maxsize=1)
def load_manifest() -> Manifest:
    """The manifest beside this file."""
    return parse_manifest((HERE / "manifest.toml").read_text(encoding="utf-8"))
