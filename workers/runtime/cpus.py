"""The processors that this process may really use (a container's quota and affinity, not the host's count)."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus() -> int:
    """At least 1. Linux control groups version 2 and 1 are read; elsewhere the count of the machine."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_v2(_CGROUP / "cpu.max") or _quota_v1(_CGROUP / "cpu")
    return max(1, min(affinity, math.floor(quota) or 1) if quota else affinity)


def _quota_v2(path: Path) -> float | None:
    try:
        limit, period = path.read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return limit / period if limit > 0 else None
    except (OSError, ValueError):
        return None
