"""Memory of the card and of the process, while cameras run."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: A tenth of the time is for every shape to have been seen once.
_SETTLED = 0.1
FLAT = 0.02


@dataclass
class Watched:
    """MiB over time, sampled until the block ends."""

    pid: int
    every: float
    card: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)

    def __enter__(self) -> Watched:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.resident.append(_resident(self.pid))
            if (used := card_memory()) is not None:
                self.card.append(used)
            if self._over.wait(self.every):
                return


def _resident(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def card_memory() -> float | None:
    """MiB in use on the first card, by whomever: in containers the driver does not know our process by its number."""
    used = _ask("memory.used")
    return None if used is None else float(used)


def card() -> str:
    """The name of the card, its memory in MiB and its driver, or that there is none."""
    return _ask("name,memory.total,driver_version") or "no card"


def _ask(what: str) -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


def row(name: str, values: Sequence[float]) -> tuple[str, bool]:
    """What was used once all was warm, at the end and at most; and whether it stayed that."""
    if not values:
        return f"| {name} | – | – | – | not told |", True
    warm = values[int(len(values) * _SETTLED)]
    growth = values[-1] / warm - 1 if warm else 0.0
    return f"| {name} | {warm:,.0f} | {values[-1]:,.0f} | {max(values):,.0f} | {growth:+.1%} |", growth < FLAT
