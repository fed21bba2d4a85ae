"""Packages of public registries as places where a file lies: `[[model.package]]` of the manifest as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

_SPEC = {
    "pypi": re.compile(r"pypi:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,99})==(?P<version>[A-Za-z0-9][A-Za-z0-9.+!_-]{0,49})"),
    "npm": re.compile(r"npm:(?P<name>(@[a-z0-9._-]{1,60}/)?[a-z0-9][a-z0-9._-]{0,99})@(?P<version>[0-9][0-9A-Za-z.+-]{0,49})"),
}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIELDS = frozenset({"package", "path", "sha256", "licence", "licence_note", "size", "file_sha256", "file_size"})
_REQUIRED = frozenset({"package", "path", "sha256", "licence"})


@dataclass(frozen=True, slots=True)
class PackageSource:
    """One file in one exact version of a package of a registry."""

    #: ``pypi`` or ``npm``
    ecosystem: str
    #: as the registry spells it; npm's with their scope (``@vladmandic/face-api``)
    name: str
    #: exact, never a range
    version: str
    #: of the file inside the archive: as it is in a wheel, below ``package/`` in npm's
    path: str
    #: of the archive (the wheel, npm's .tgz), in hex
    sha256: str
    #: of the package
    licence: str
    #: what is known beyond the name, where the package's licence is not the file's
    licence_note: str = ""
    #: bytes of the archive; 0: not stated
    size: int = 0
    #: of the file, where its bytes differ from the artefact's and the conversion makes the same of both; "" where they do not differ
    file_sha256: str = ""
    #: bytes of the file where they differ, else 0
    file_size: int = 0

    @property
    def spec(self) -> str:
        """As the registry's client writes it: ``silero-vad==6.2.3``, ``@vladmandic/face-api@1.7.15``."""
        return f"{self.name}{'==' if self.ecosystem == 'pypi' else '@'}{self.version}"

    def __str__(self) -> str:
        return f"{self.ecosystem}:{self.spec}"


def parse_package(table: Mapping[str, Any]) -> PackageSource:
    """Raises `ValueError` for anything that is not exactly a package source."""
    if unknown := sorted(table.keys() - _FIELDS):
        raise ValueError(f"a package source has no {', '.join(unknown)}")
    if missing := sorted(_REQUIRED - table.keys()):
        raise ValueError(f"a package source needs {', '.join(missing)}")
    ecosystem, name, version = _parse_spec(str(table["package"]))
    path = PurePosixPath(table["path"])
    if path.is_absolute() or ".." in path.parts or "\\" in table["path"] or not path.name:
        raise ValueError(f"{table['path']!r} is no path inside a package")
    if ("file_sha256" in table) != ("file_size" in table):
        raise ValueError("file_sha256 goes with file_size")
    for field in ("sha256", "file_sha256"):
        if field in table and not _SHA256.fullmatch(str(table[field])):
            raise ValueError(f"{field} of a package source must be 64 hex digits")
    return PackageSource(
        ecosystem=ecosystem,
        name=name,
        version=version,
        path=str(path),
        sha256=table["sha256"],
        licence=table["licence"],
        licence_note=table.get("licence_note", ""),
        size=int(table.get("size", 0)),
        file_sha256=table.get("file_sha256", ""),
        file_size=int(table.get("file_size", 0)),
    )


def _parse_spec(spec: str) -> tuple[str, str, str]:
    """Ecosystem, name and version."""
    pattern = _SPEC.get(spec.partition(":")[0])
    found = pattern.fullmatch(spec) if pattern else None
    if found is None:
        raise ValueError(f"{spec!r} is neither pypi:name==version nor npm:name@version")
    return spec.partition(":")[0], found["name"], found["version"]
