"""A Sensorium that is started for a measurement and ends with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from shared.errors import Unavailable

_READY = re.compile(r"Sensorium is ready at (\S+)")
#: What of the environment belongs to the measurement: where it runs, not what it is part of.
KEPT = (
    "SENSORIUM_BATCH",
    "SENSORIUM_DEVICE",
    "SENSORIUM_EXTRA_SERVICES",
    "SENSORIUM_GPU_MEMORY_BYTES",
    "SENSORIUM_MODELS_DIR",
    "SENSORIUM_MODEL_THREADS",
)
_STOP_SECONDS = 40.0


@contextmanager
def own_system(service: str, settings: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """(address, process) of an embedded Sensorium that serves ``service`` alone, in a folder of its own; its demonstration account is open.

    ``settings`` are variables of its environment beside `KEPT`. Raises `Unavailable` with its last lines when it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="sensorium-bench-") as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SENSORIUM_") or name in KEPT}
        environment |= {"SENSORIUM_DATA_DIR": folder, "SENSORIUM_LOG_LEVEL": "warning", **(settings or {})}
        command = [sys.executable, "-m", "sensorium", "up", service, "--host", "127.0.0.1", "--port", "0"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603 - this program itself
        try:
            yield _address(process.stdout or (), service), process.pid
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(output: Iterable[str], service: str) -> str:
    """Where it is, once it says so; what it says later is read and forgotten, for otherwise it would have to wait with saying it."""
    last: deque[str] = deque(maxlen=20)
    for line in output:
        last.append(line)
        if found := _READY.search(line):
            threading.Thread(target=deque, args=(output, 0), daemon=True).start()
            return found[1]
    raise Unavailable(f"{service} could not be started for the measurement:\n{''.join(last)}")
