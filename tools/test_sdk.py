"""Runs the tests of `sdk/` with every Python from 3.9 to 3.14 that this machine has, against one embedded instance.

`python tools/test_sdk.py` uses them all, `… --ends` the oldest and the newest. Each gets a virtual environment in `sdk/.venvs`, with the package
installed as its users install it; what is there from before and still current is used again. Versions that are absent are named. Run by
`make test-sdk` and `make test`, with the Python of `.venv`.
"""

# ruff: noqa: S603  (starting programs is what this is for)

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SDK = ROOT / "sdk"
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
LOCK = SDK / "requirements-test.lock"
READY_SECONDS = 180.0
#: For one step with one Python: an installation, or the tests.
STEP_SECONDS = 900.0


def main(arguments: list[str]) -> int:
    """The exit status: 1 when a test failed with any Python."""
    parser = argparse.ArgumentParser(description="Run the tests of the client with every Python found.")
    parser.add_argument("--ends", action="store_true", help="the oldest and the newest only")
    parser.add_argument("words", nargs="*", help="given to pytest")
    given = parser.parse_args(arguments)
    found = {version: python for version in VERSIONS if (python := find(version))}
    absent = [version for version in VERSIONS if version not in found]
    chosen = list(found)[:: max(1, len(found) - 1)] if given.ends else list(found)
    print(f"The client's tests with Python {', '.join(chosen)}", flush=True)
    if absent:
        print(f"  skipped, since this machine has none: Python {', '.join(absent)}", flush=True)
    if not chosen:
        return 1
    pythons = {version: environment(version, found[version]) for version in chosen}
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as url:
        failed = [version for version in chosen if not passes(version, pythons[version], {**settings(Path(folder), url)}, given.words)]
    if failed:
        print(f"The client's tests failed with Python {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def find(version: str) -> str | None:
    """An interpreter of this version: on PATH, or one that pyenv installed. Each is run, since a name on PATH proves little."""
    installed = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for candidate in (f"python{version}", *map(str, installed)):
        check = f"import sys, venv, ensurepip; sys.exit('.'.join(map(str, sys.version_info[:2])) != '{version}')"
        path = shutil.which(candidate)
        if path and subprocess.run([path, "-c", check], capture_output=True, check=False).returncode == 0:
            return path
    return None


def environment(version: str, python: str) -> Path:
    """The interpreter of a virtual environment with the package and what its tests need."""
    folder = SDK / ".venvs" / version
    own = folder / "bin" / "python"
    stamp = folder / ".installed"
    wanted = digest(python)
    pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"  making sdk/.venvs/{version} …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        subprocess.run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)], check=True, timeout=STEP_SECONDS)
        stamp.write_text(wanted)
    shutil.rmtree(SDK / "build", ignore_errors=True)  # setuptools would put files into the package that are there no more
    # the build tool comes with the lock too, so that nothing is fetched unchecked
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--force-reinstall", str(SDK)], check=True, timeout=STEP_SECONDS)
    return own


def digest(python: str) -> str:
    """Of everything that decides what is installed beside the package."""
    content = hashlib.sha256(python.encode())
    for path in (LOCK, Path(__file__)):
        content.update(path.read_bytes())
    return content.hexdigest()


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The address of an embedded instance that runs while the block lasts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SENSORIUM_") or name == "SENSORIUM_MODELS_DIR"}
    log = folder / "sensorium.log"
    words = [sys.executable, "-m", "sensorium", "up", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(words, cwd=ROOT, env={**kept, "SENSORIUM_DATA_DIR": str(folder)}, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/readyz", process, log)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the address answers 200."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  (an address of our own)
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"Sensorium did not become ready:\n{log.read_text()[-4000:]}")


def settings(folder: Path, url: str) -> dict[str, str]:
    """What the tests find in their environment."""
    from sensorium.demo import astronaut_jpeg

    photo = folder / "photo.jpg"
    photo.write_bytes(astronaut_jpeg())
    return {"ANGUS_TEST_URL": url, "ANGUS_TEST_PHOTO": str(photo)}


def passes(version: str, python: Path, more: dict[str, str], words: list[str]) -> bool:
    """Whether the tests pass with this interpreter."""
    print(f"== Python {version}", flush=True)
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=SDK, env={**os.environ, **more}, check=False, timeout=STEP_SECONDS).returncode == 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
