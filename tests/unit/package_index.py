"""Registries of the tests' own: PyPI's simple pages with wheels, and npm's documents with archives, served to the real pip and npm."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest

from models.sources import PackageSource
from tests.unit.models_server import FileServer, serving


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel(name: str, version: str, files: Mapping[str, bytes], modes: Mapping[str, int] | None = None) -> bytes:
    """A wheel that pip accepts. ``modes``: file types and permissions, as a `stat` has them, by path."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    everything = {**files, **metadata}
    record = "".join(f"{path},," + "\n" for path in [*everything, f"{info}/RECORD"])
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, content in {**everything, f"{info}/RECORD": record.encode()}.items():
                entry = zipfile.ZipInfo(path)
                entry.external_attr = (modes or {}).get(path, 0o100644) << 16
                archive.writestr(entry, content)
        return file.getvalue()


def tgz(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """An archive as npm packs it; the paths are whole (``package/…``). ``links``: symbolic links, path to target."""
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for path, content in files.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            for path, target in (links or {}).items():
                entry = tarfile.TarInfo(path)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                archive.addfile(entry)
        return file.getvalue()


@dataclass
class PackageIndex:
    """Both registries, on one address. ``files``: what they have, by path."""

    server: FileServer
    files: dict[str, bytes] = field(default_factory=dict)

    def add_wheel(self, name: str, version: str, content: bytes) -> None:
        file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        self.files[f"/files/{file}"] = content
        self.files[f"/simple/{name}/"] = f'<!DOCTYPE html><a href="/files/{file}">{file}</a>'.encode()

    def add_npm(self, name: str, version: str, content: bytes) -> None:
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
        dist = {"tarball": f"{self.server.url}/files/{version}.tgz", "integrity": integrity, "shasum": hashlib.sha1(content).hexdigest()}
        versions = {version: {"name": name, "version": version, "dist": dist}}
        document = json.dumps({"name": name, "dist-tags": {"latest": version}, "versions": versions}).encode()
        self.files[f"/files/{version}.tgz"] = content
        self.files["/" + quote(name, safe="@")] = self.files["/" + quote(name, safe="@").replace("%2F", "%2f")] = document

    def downloads(self) -> list[str]:
        """The archives that were asked for."""
        return [path for path, _ in self.server.requests if path.startswith("/files/")]


@contextmanager
def package_index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    """The index that pip and npm are set up with, and no other configuration of this machine."""
    files: dict[str, bytes] = {}
    with serving(FileServer(files, ranges=False)) as server:
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
        for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("npm_config_registry", f"{server.url}/")
        monkeypatch.setenv("npm_config_userconfig", "/dev/null")
        monkeypatch.setenv("npm_config_globalconfig", "/nonexistent/npmrc")
        yield PackageIndex(server, files)


def pypi(name: str, version: str, path: str, archive: bytes) -> PackageSource:
    return PackageSource("pypi", name, version, path, sha256(archive), "MIT", size=len(archive))


def npm(name: str, version: str, path: str, archive: bytes) -> PackageSource:
    return PackageSource("npm", name, version, path, sha256(archive), "MIT", size=len(archive))
