"""`python -m tests.servers` keeps servers running; `python -m tests.servers run -- COMMAND…` runs a command with servers around it."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.servers.base import Server, ServerAbsent, ServerFailed
from tests.servers.external import ENVIRONMENT
from tests.servers.start import KINDS, obtain

SIGNALLED = 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: the command's own; 1 if a server failed, or is absent where CI needs it."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sensorium-servers-", ignore_cleanup_errors=True)))
        try:
            urls = _start_all(options.only, folder, stack)
        except (ServerAbsent, ServerFailed) as error:
            print(f"tests.servers: {error}", file=sys.stderr)
            return 1
        variables = {ENVIRONMENT[kind]: url for kind, url in urls.items()}
        if options.command:
            return _run(options.command, variables, ended)
        for name, url in variables.items():
            print(f"export {name}={url}")
        print("# servers are up; end them with Ctrl-C", flush=True)
        ended.wait()
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    words = list(arguments)
    command: list[str] = []
    if words[:1] == ["run"]:
        cut = words.index("--") if "--" in words else len(words)
        words, command = words[1:cut], words[cut + 1 :]
        if not command:
            raise SystemExit("usage: python -m tests.servers run [--only KIND,…] -- COMMAND…")
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("--only", default=",".join(KINDS), help=f"kinds separated by commas, of {', '.join(KINDS)}")
    options = parser.parse_args(words)
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(KINDS):
        parser.error(f"unknown kind: {', '.join(sorted(unknown))}")
    options.command = command
    return options


def _start_all(kinds: Sequence[str], folder: Path, stack: ExitStack) -> dict[str, str]:
    with ThreadPoolExecutor(max_workers=len(kinds)) as pool:
        started = list(pool.map(lambda kind: _start_one(kind, folder, stack), kinds))
    return {kind: server.url for kind, server in zip(kinds, started, strict=True) if server is not None}


def _start_one(kind: str, folder: Path, stack: ExitStack) -> Server | None:
    own = folder / kind
    own.mkdir()
    try:
        server = obtain(kind, own)
    except ServerAbsent as error:
        if os.environ.get("CI"):
            raise
        print(f"tests.servers: tests that need it will be skipped: {error}", file=sys.stderr)
        return None
    stack.callback(server.close)
    return server


def _run(command: Sequence[str], variables: dict[str, str], ended: threading.Event) -> int:
    # Ctrl-C reaches the command by itself, being in the terminal's foreground group; SIGTERM is passed on.
    process = subprocess.Popen(command, env={**os.environ, **variables})
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    if ended.is_set():  # told to end while the servers were starting
        process.terminate()
    code = process.wait()
    return SIGNALLED - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
