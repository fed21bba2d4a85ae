"""The mirror: a folder or an address that is asked before the public addresses.

A folder may be laid out in any way: only content counts, names merely say where to look first.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from models.manifest import Artefact, digest_of


class Mirror(Protocol):
    """Where else an artefact may be had."""

    def paths(self, artefact: Artefact) -> Iterator[Path]:
        """Local files with exactly this content."""

    def urls(self, artefact: Artefact) -> Iterator[str]:
        """Addresses that may have it; the content is to be checked."""


class NoMirror:
    """Nothing but the public addresses."""

    def paths(self, artefact: Artefact) -> Iterator[Path]:
        yield from ()

    def urls(self, artefact: Artefact) -> Iterator[str]:
        yield from ()


class FolderMirror:
    """A folder and all below it. It is listed at the first question, once; files are read only when their size fits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_size: dict[int, list[Path]] | None = None

    def paths(self, artefact: Artefact) -> Iterator[Path]:
        candidates = self._listing().get(artefact.size, [])
        for path in sorted(candidates, key=lambda path: (path.name != artefact.base_name, str(path))):
            if digest_of(path, artefact.algorithm) == artefact.digest:
                yield path

    def urls(self, artefact: Artefact) -> Iterator[str]:
        yield from ()

    def _listing(self) -> dict[int, list[Path]]:
        if self._by_size is None:
            if not self._folder.is_dir():
                raise NotADirectoryError(f"the mirror {self._folder} is not a folder")
            self._by_size = defaultdict(list)
            for root, _, names in os.walk(self._folder):
                for path in (Path(root, name) for name in names):
                    if path.is_file():
                        self._by_size[path.stat().st_size].append(path)
        return self._by_size


class UrlMirror:
    """An address below which files lie by their path in the manifest, by bare name, or by digest."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")

    def paths(self, artefact: Artefact) -> Iterator[Path]:
        yield from ()

    def urls(self, artefact: Artefact) -> Iterator[str]:
        for name in dict.fromkeys((artefact.file, artefact.base_name, artefact.digest)):
            yield f"{self._base}/{quote(name)}"


class Mirrors:
    """Several, asked one after the other."""

    def __init__(self, *mirrors: Mirror) -> None:
        self._mirrors = mirrors

    def paths(self, artefact: Artefact) -> Iterator[Path]:
        for mirror in self._mirrors:
            yield from mirror.paths(artefact)

    def urls(self, artefact: Artefact) -> Iterator[str]:
        for mirror in self._mirrors:
            yield from mirror.urls(artefact)


def open_mirror(where: str | None) -> Mirror:
    """``where``: a folder (also as ``file:`` address), an http(s) address, or nothing."""
    if not where:
        return NoMirror()
    address = urlsplit(where)
    if address.scheme in ("http", "https"):
        return UrlMirror(where)
    return FolderMirror(Path(url2pathname(address.path) if address.scheme == "file" else where).expanduser())
