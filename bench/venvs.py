"""One virtual environment a peer, made from its pinned requirements when it is missing or they changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE / ".venvs"


def interpreter(peer: str) -> Path:
    """The Python of the peer's environment, installing it first if need be. Raises `subprocess.CalledProcessError`."""
    home = FOLDER / peer
    requirements = HERE / f"requirements-{peer}.txt"
    stamp = home / "installed.txt"
    python = home / "bin" / "python"
    if not stamp.exists() or stamp.read_bytes() != requirements.read_bytes():
        print(f"installing {peer} into {home} …", file=sys.stderr, flush=True)
        _install(home, python, requirements)
        shutil.copyfile(requirements, stamp)
    return python


def versions(peer: str, *packages: str) -> dict[str, str]:
    """The pinned versions of some packages of a peer, by name."""
    lines = (HERE / f"requirements-{peer}.txt").read_text().splitlines()
    pins = dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith(("#", " ")))
    return {package: pins[package].split(" ")[0] for package in packages}


def _install(home: Path, python: Path, requirements: Path) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is not None:
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "-r", requirements], check=True)
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
