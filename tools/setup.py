"""Makes `.venv` and installs the locked dependencies and the project into it. Run by `make`; needs nothing but Python's standard library.

`python tools/setup.py run` installs what running needs (requirements.lock), `… dev` what tests and checks need as well (requirements-dev.lock),
`… environment` only makes an empty `.venv`. What is installed already is left alone, told by a digest of everything that decides it in `.venv/.installed-run` and `.venv/.installed-dev`.
"""

# ruff: noqa: S603  (starting pip is what this is for)

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}
SHOWN = ("Downloading", "Successfully", "Building", "ERROR", "error", "WARNING: Retrying")
HELP = """
Sensorium needs pip in its virtual environment, and this Python brings none along. Install one of these, then try again:
    Debian, Ubuntu: apt-get install python3-venv        Fedora: dnf install python3-pip        macOS: brew install python
"""


class SetupError(Exception):
    """The text is for the person at the keyboard."""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    kind = arguments[0] if len(arguments) == 1 else ""
    if kind not in (*LOCKS, "environment"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if not works(PYTHON):
            make_environment()
        if kind in LOCKS:
            install(kind)
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def install(kind: str) -> None:
    """Bring `.venv` to the state of one lock file. Raises `SetupError`."""
    if stamp(kind).exists() and stamp(kind).read_text() == digest(kind):
        stamp(kind).touch()
        return
    lock = LOCKS[kind]
    print(f"Installing what {lock} names into .venv (the first time this downloads some hundred megabytes) …", flush=True)
    pip("install", "--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / lock))
    # The build tools are in the lock file, so that nothing is fetched unchecked here.
    pip("install", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    for done in ("dev", "run") if kind == "dev" else ("run",):  # the dev lock holds everything of the other
        stamp(done).write_text(digest(done))


def stamp(kind: str) -> Path:
    """The file that says what is installed."""
    return VENV / f".installed-{kind}"


def digest(kind: str) -> str:
    """Of everything that decides what is installed."""
    content = hashlib.sha256()
    for name in (LOCKS[kind], "pyproject.toml", "tools/setup.py"):
        content.update((ROOT / name).read_bytes())
    content.update(str(ROOT).encode())  # an editable installation remembers where the project is
    return content.hexdigest() + "\n"


def works(python: Path) -> bool:
    """Whether it is there, new enough, and has pip. A virtual environment breaks when the Python it was made of is removed."""
    if not python.exists():
        return False
    check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0


def make_environment() -> None:
    """Make `.venv` anew, with pip. Raises `SetupError`."""
    print(f"Making .venv with Python {sys.version.split()[0]} ({sys.executable}) …", flush=True)
    if VENV.exists():
        shutil.rmtree(VENV)
    if importlib.util.find_spec("ensurepip") is not None and call([sys.executable, "-m", "venv", str(VENV)]):
        return
    # Debian splits ensurepip off into the package python3-venv.
    if not call([sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)]):
        raise SetupError(HELP)
    if not (pip_from_another_pip() or pip_from_debian()):
        shutil.rmtree(VENV)
        raise SetupError(HELP)


def pip_from_another_pip() -> bool:
    """Have a pip of this machine install one into `.venv`, from the index that it is configured for."""
    others = [[sys.executable, "-m", "pip"], *([found] for name in ("pip3", "pip") if (found := shutil.which(name)))]
    return any(call([*other, "--python", str(PYTHON), "install", "--quiet", "pip"]) for other in others)


def pip_from_debian() -> bool:
    """Take the wheel of pip out of Debian's package, which needs no rights: nothing is installed on the machine."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            call(["apt-get", "update"])
        if not call(["apt-get", "download", "python3-pip-whl"], folder):
            return False
        for package in Path(folder).glob("*.deb"):
            call(["dpkg-deb", "-x", str(package), folder])
        wheels = list(Path(folder).glob("usr/share/python-wheels/pip-*.whl"))
        return bool(wheels) and call([str(PYTHON), f"{wheels[0]}/pip", "install", "--no-index", str(wheels[0])])


def call(words: Sequence[str], folder: str | None = None) -> bool:
    """Run quietly; whether it succeeded."""
    return subprocess.run(words, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0


def pip(*words: str) -> None:
    """Run the environment's pip, showing that something happens. Raises `SetupError` with what it said last."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", *words]
    said: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            said.append(line)
            if line.strip().startswith(SHOWN):
                print(f"  {line.strip()}", flush=True)
    if process.returncode:
        raise SetupError("".join(said[-25:]) + f"\npip could not do it (above is what it said). The command was:\n  {' '.join(command)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
