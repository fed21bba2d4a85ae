from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from models.convert import PROGRAMS, Program
from models.fetch import FetchLimits
from models.manifest import Artefact, Conversion, Model, State
from models.mirror import FolderMirror, Mirror, UrlMirror, open_mirror
from models.obtain import PullSettings
from models.pull import Puller, PullFailed
from tests.unit.models_server import FileServer, serving

CONTENT = random.Random(2).randbytes(400_000)
SETTINGS = PullSettings(FetchLimits(timeout=5, attempts=2, pause=0), quiet=True)


def artefact(content: bytes = CONTENT, *urls: str, file: str = "task/a.onnx") -> Artefact:
    return Artefact(file, len(content), hashlib.sha256(content).hexdigest(), urls)


def model(of: Artefact, conversion: Conversion | None = None) -> Model:
    return Model("a", "A", "t", "primary", "MIT", "", of, conversion)


def left_over(directory: Path) -> list[str]:
    """What lies in the models directory, the locks aside."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_from_the_public_address(tmp_path: Path) -> None:
    with serving(FileServer({"/a": CONTENT}, cuts=[100_000])) as server:
        wanted = model(artefact(CONTENT, f"{server.url}/missing", f"{server.url}/a"))
        assert Puller(tmp_path, None, SETTINGS).pull(wanted) is True
        asked = len(server.requests)
        assert Puller(tmp_path, None, SETTINGS).pull(wanted) is False
        assert len(server.requests) == asked
    assert wanted.path(tmp_path).read_bytes() == CONTENT
    assert left_over(tmp_path) == ["task/a.onnx"]


def test_wrong_content_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with serving(FileServer({"/a": CONTENT[::-1]})) as server:
        wanted = model(artefact(CONTENT, f"{server.url}/a"))
        with pytest.raises(PullFailed, match=r"(?s)not the one in the manifest.*sensorium models pull a"):
            Puller(tmp_path, None, SETTINGS).pull(wanted)
    assert left_over(tmp_path) == []


def test_a_failed_pull_leaves_the_old_file(tmp_path: Path) -> None:
    wanted = model(artefact())
    path = wanted.path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"an older version")
    with pytest.raises(PullFailed):
        Puller(tmp_path, None, SETTINGS).pull(wanted)
    assert path.read_bytes() == b"an older version"


def test_a_corrupt_file_is_replaced(tmp_path: Path) -> None:
    wanted = model(artefact())
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.onnx").write_bytes(CONTENT)
    path = wanted.path(tmp_path / "models")
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1] + b"!")
    assert Puller(tmp_path / "models", FolderMirror(tmp_path / "mirror"), SETTINGS).pull(wanted) is True
    assert wanted.state(tmp_path / "models") is State.INSTALLED


def test_the_next_pull_goes_on_where_a_killed_one_was(tmp_path: Path) -> None:
    """Another process dies in the middle of the body; this one asks for the rest only."""
    code = (
        "import os, sys; from pathlib import Path; from models.fetch import FetchLimits, fetch;"
        "fetch(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), FetchLimits(), lambda count: count and os._exit(9))"
    )
    with serving(FileServer({"/a": CONTENT}, cuts=[150_000])) as server:
        wanted = model(artefact(CONTENT, f"{server.url}/a"))
        part = tmp_path / ".pull" / wanted.artefact.sha256 / f"{wanted.artefact.sha256}.part"
        killed = subprocess.run([sys.executable, "-c", code, f"{server.url}/a", part, str(len(CONTENT))], check=False)
        assert killed.returncode == 9
        assert Puller(tmp_path, None, SETTINGS).pull(wanted) is True
    assert server.requests == [("/a", None), ("/a", f"bytes={150_000}-")]
    assert wanted.path(tmp_path).read_bytes() == CONTENT
    assert left_over(tmp_path) == ["task/a.onnx"]


def test_one_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    other, heard = CONTENT[:1000], []
    with serving(FileServer({"/b": other})) as server:
        missing = model(artefact(CONTENT, f"{server.url}/a"))
        there = model(artefact(other, f"{server.url}/b", file="task/b.onnx"))
        failures = Puller(tmp_path, None, SETTINGS).pull_all([missing, there], lambda done, new: heard.append((done, new)))
    assert len(failures) == 1
    assert heard == [(there, True)]


def test_a_host_without_a_connection_is_asked_once(tmp_path: Path) -> None:
    """For all files of a run."""
    unreachable = "http://127.0.0.1:9"
    with serving(FileServer({"/b": CONTENT[:1000]})) as server:
        models = [model(artefact(CONTENT, f"{unreachable}/a", f"{unreachable}/again"))]
        models.append(model(artefact(CONTENT[:1000], f"{unreachable}/b", f"{server.url}/b", file="task/b.onnx")))
        (failure,) = Puller(tmp_path, None, SETTINGS).pull_all(models, lambda *_: None)
    assert str(failure).count("refused") == 1
    assert str(failure).count("not asked, the host does not answer") == 1


def test_a_stale_part_costs_one_more_download(tmp_path: Path) -> None:
    with serving(FileServer({"/a": CONTENT})) as server:
        wanted = model(artefact(CONTENT, f"{server.url}/a"))
        part = tmp_path / ".pull" / wanted.artefact.sha256 / f"{wanted.artefact.sha256}.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"\0" * 1000)
        assert Puller(tmp_path, None, SETTINGS).pull(wanted) is True
    assert [asked for _, asked in server.requests] == ["bytes=1000-", None]


@pytest.mark.parametrize("place", ["a.onnx", "deep/down/a.onnx", "other-name", hashlib.sha256(CONTENT).hexdigest()])
def test_a_mirror_folder_is_searched_by_content(place: str, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    (mirror / place).parent.mkdir(parents=True)
    (mirror / place).write_bytes(CONTENT)
    (mirror / "same-size").write_bytes(CONTENT[::-1])
    wanted = model(artefact(CONTENT, "http://127.0.0.1:9/never-asked"))
    assert Puller(tmp_path / "models", open_mirror(str(mirror)), SETTINGS).pull(wanted) is True
    assert wanted.state(tmp_path / "models") is State.INSTALLED


@pytest.mark.parametrize("place", ["/m/task/a.onnx", "/m/a.onnx", f"/m/{hashlib.sha256(CONTENT).hexdigest()}"])
def test_a_mirror_address_is_asked_first(place: str, tmp_path: Path) -> None:
    with serving(FileServer({place: CONTENT, "/public": CONTENT})) as server:
        wanted = model(artefact(CONTENT, f"{server.url}/public"))
        assert Puller(tmp_path, open_mirror(f"{server.url}/m/"), SETTINGS).pull(wanted) is True
    assert "/public" not in [path for path, _ in server.requests]


def test_a_mirror_without_it_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    for mirror in (FolderMirror(tmp_path / "mirror"), None):
        with serving(FileServer({"/a": CONTENT})) as server:
            directory = tmp_path / str(mirror is None)
            choice: Mirror = mirror or UrlMirror(server.url + "/nothing")
            assert Puller(directory, choice, SETTINGS).pull(model(artefact(CONTENT, f"{server.url}/a"))) is True


def test_a_mirror_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match="not a folder"):
        Puller(tmp_path, open_mirror(str(tmp_path / "nowhere")), SETTINGS).pull(model(artefact()))


def shards() -> dict[str, bytes]:
    """The expression network of face-api.js with random weights, in its own format."""
    random_ = np.random.default_rng(3)
    weights, raw = [], b""

    def add(name: str, *shape: int) -> None:
        nonlocal raw
        weights.append({"name": name, "shape": shape, "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.01, "min": -1.28}})
        raw += random_.integers(0, 256, shape, np.uint8).tobytes()

    widths = [3, 32, 64, 128, 256]
    for block, (before, width) in enumerate(itertools.pairwise(widths)):
        for layer in range(4):
            name, fan_in = f"dense{block}/conv{layer}", before if layer == 0 else width
            if (block, layer) == (0, 0):
                add(f"{name}/filters", 3, 3, fan_in, width)
            else:
                add(f"{name}/depthwise_filter", 3, 3, fan_in, 1)
                add(f"{name}/pointwise_filter", 1, 1, fan_in, width)
            add(f"{name}/bias", width)
    add("fc/weights", 256, 7)
    add("fc/bias", 7)
    return {"x-shard1": raw, "x.json": json.dumps([{"weights": weights, "paths": ["x-shard1"]}]).encode()}


def converted_model(files: dict[str, bytes], base: str, digest: str, size: int) -> Model:
    originals = tuple(artefact(content, f"{base}/{name}", file=name) for name, content in files.items())
    return model(Artefact("task/a.onnx", size, digest, ()), Conversion("faceapi-expression", {}, originals))


def expected(files: dict[str, bytes]) -> bytes:
    from models.convert import convert

    return convert(Conversion("faceapi-expression", {}, ()), files)


def test_another_format_is_converted_and_the_result_checked(tmp_path: Path) -> None:
    files = shards()
    result = expected(files)
    with serving(FileServer({f"/{name}": content for name, content in files.items()})) as server:
        good = converted_model(files, server.url, hashlib.sha256(result).hexdigest(), len(result))
        assert Puller(tmp_path / "good", None, SETTINGS).pull(good) is True
        bad = converted_model(files, server.url, "0" * 64, len(result))
        with pytest.raises(PullFailed, match="converted by faceapi-expression"):
            Puller(tmp_path / "bad", None, SETTINGS).pull(bad)
    assert good.path(tmp_path / "good").read_bytes() == result
    assert left_over(tmp_path / "good") == ["task/a.onnx"]
    assert not bad.path(tmp_path / "bad").exists()


def test_a_mirror_of_originals_is_enough(tmp_path: Path) -> None:
    files = shards()
    result = expected(files)
    (tmp_path / "mirror").mkdir()
    for name, content in files.items():
        (tmp_path / "mirror" / name).write_bytes(content)
    wanted = converted_model(files, "http://127.0.0.1:9", hashlib.sha256(result).hexdigest(), len(result))
    assert Puller(tmp_path / "models", FolderMirror(tmp_path / "mirror"), SETTINGS).pull(wanted) is True


def test_without_the_converter_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needy = Program("faceapi", "expression", ("no_such_package",))
    monkeypatch.setattr("models.convert.PROGRAMS", {**PROGRAMS, "faceapi-expression": needy})
    with serving(FileServer({})) as server:
        wanted = converted_model({"x": b"1"}, server.url, "0" * 64, 9)
        with pytest.raises(PullFailed, match=r'no_such_package; run: pip install "sensorium\[convert\]"'):
            Puller(tmp_path, None, SETTINGS).pull(wanted)
    assert server.requests == []


def test_pulls_side_by_side_download_once(tmp_path: Path) -> None:
    with serving(FileServer({"/a": CONTENT})) as server:
        wanted = model(artefact(CONTENT, f"{server.url}/a"))
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: Puller(tmp_path, None, SETTINGS).pull(wanted), range(4)))
    assert sorted(done) == [False, False, False, True]
    assert len(server.requests) == 1


def test_waiting_for_another_pull_has_an_end(tmp_path: Path) -> None:
    wanted = model(artefact())
    lock = tmp_path / ".pull" / f"{wanted.artefact.sha256}.lock"
    lock.parent.mkdir()
    with FileLock(lock), pytest.raises(PullFailed, match="another pull"):
        Puller(tmp_path, None, PullSettings(lock_timeout=0.05, quiet=True)).pull(wanted)
    assert list(lock.parent.iterdir()) == [lock]  # whoever waits touches nothing that is the other's


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PullFailed, match="denied"):
        Puller(tmp_path, None, SETTINGS).pull(model(artefact()))
