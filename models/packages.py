"""Files out of packages: installed ones are used as they are, others are downloaded, verified, and unpacked by the one file.

An archive that has several files of the manifest is downloaded once in the life of a `PackageStore` and removed at its end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from time import time
from uuid import uuid4

from filelock import FileLock, Timeout

from models.archives import BadArchive, extract
from models.clients import (
    Advance,
    ClientFailed,
    ClientLimits,
    DownloadCut,
    IndexUnreachable,
    borrowed_npm,
    installed_npm,
    npm_pack,
    pip_download,
)
from models.manifest import Artefact, State, digest_of, file_state
from models.sources import PackageSource

_CLIENT = "npm-client-"
_STALE = 86_400.0  # seconds: longer than any pull
FindNpm = Callable[[], list[str] | None]


class PackageFailed(Exception):
    """The file could not be had out of the package; the message is one line."""


class PackageStore:
    """Archives in ``folder``, shared with other processes that pull at the same time."""

    def __init__(self, folder: Path, limits: ClientLimits | None = None, find_npm: FindNpm = installed_npm) -> None:
        self._folder = folder
        self._limits = limits or ClientLimits()
        self._find_npm = find_npm
        self._npm: list[str] | None = None
        self._npm_folder: Path | None = None
        self._archives: set[Path] = set()
        self._unreachable: dict[str, str] = {}  # why, by ecosystem: what does not answer is asked once

    def installed(self, source: PackageSource, artefact: Artefact) -> Path | None:
        """The file in a package that is installed for this Python, of whichever version, when its content is ``artefact``'s."""
        if source.ecosystem != "pypi":
            return None
        try:
            found = Path(str(distribution(source.name).locate_file(source.path)))
        except PackageNotFoundError:
            return None
        return found if file_state(found, artefact) is State.INSTALLED else None

    def take(self, source: PackageSource, artefact: Artefact, target: Path, advance: Advance = lambda _: None) -> None:
        """Writes the file to ``target``; its digest is the caller's to check. Raises `PackageFailed`, `OSError`.

        ``advance`` is called with the number of bytes of the archive that have just come.
        """
        archive = self._folder / source.sha256
        try:
            with self._alone(archive):
                if not archive.is_file():
                    self._download(source, archive, advance)
                self._archives.add(archive)
                extract(archive, source, target, artefact.size)
        except (ClientFailed, BadArchive) as error:
            target.unlink(missing_ok=True)
            raise PackageFailed(str(error)) from error

    def close(self) -> None:
        """Removes the archives and the borrowed client."""
        for archive in self._archives:
            try:
                with self._alone(archive):
                    archive.unlink(missing_ok=True)
            except (OSError, ClientFailed):
                continue  # another process has it, and will remove it
        self._archives.clear()
        if self._npm_folder is not None:
            shutil.rmtree(self._npm_folder, ignore_errors=True)
        self._npm = self._npm_folder = None

    def _download(self, source: PackageSource, archive: Path, advance: Advance) -> None:
        """Puts the verified archive of ``source`` at ``archive``."""
        if source.ecosystem in self._unreachable:
            raise ClientFailed(f"{source}: not asked, for {self._unreachable[source.ecosystem]}")
        limits = replace(self._limits, size=source.size) if source.size else self._limits
        for last in (False, True):
            try:
                with _empty(archive.with_suffix(".work")) as work:
                    got = self._client(source, work, limits, advance)
                    if (digest := digest_of(got, "sha256")) != source.sha256:
                        raise DownloadCut(f"{source}: what came is not the archive in the manifest (sha256 {digest})")
                    got.replace(archive)
                return
            except IndexUnreachable as error:
                self._unreachable[source.ecosystem] = str(error)
                raise
            except DownloadCut:
                if last:
                    raise

    def _client(self, source: PackageSource, work: Path, limits: ClientLimits, advance: Advance) -> Path:
        if source.ecosystem == "pypi":
            return pip_download(source, work, limits, advance)
        return npm_pack(source, self._npm_command(), work, limits, advance)

    def _npm_command(self) -> list[str]:
        """The machine's, else the one that PyPI carries, unpacked once."""
        self._npm = self._npm or self._find_npm()
        if self._npm is None:
            self._npm_folder = self._new_client_folder()
            try:
                self._npm = borrowed_npm(self._npm_folder, self._limits, lambda _: None)
            except ClientFailed as error:
                raise IndexUnreachable(f"there is no npm on this machine, and none could be borrowed: {error}") from error
        return self._npm

    def _new_client_folder(self) -> Path:
        """One of this process's own. What a killed one has left is removed, a day after."""
        for old in self._folder.glob(f"{_CLIENT}*"):
            if old.stat().st_mtime < time() - _STALE:
                shutil.rmtree(old, ignore_errors=True)
        folder = self._folder / f"{_CLIENT}{uuid4().hex}"
        folder.mkdir(parents=True)
        return folder

    @contextmanager
    def _alone(self, archive: Path) -> Iterator[None]:
        """One process at a time downloads an archive; the others then find it."""
        archive.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(archive.with_suffix(".lock"), timeout=self._limits.timeout)
        try:
            with lock:
                yield
        except Timeout as error:
            raise ClientFailed(f"{archive.name}: another pull has been busy with it for {lock.timeout:.0f} s") from error


@contextmanager
def _empty(folder: Path) -> Iterator[Path]:
    """A folder that is there, and empty, until the end; what a killed process left in it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
