"""The processors that a container may use, read from control groups laid out in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.runtime import cpus


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups without a quota, on a machine that lets this process run on eight processors."""
    monkeypatch.setattr(cpus, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def write_v1(groups: Path, quota: str, period: str) -> None:
    (groups / "cpu").mkdir()
    (groups / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (groups / "cpu" / "cpu.cfs_period_us").write_text(period)


def test_without_control_groups_the_affinity_counts(groups: Path) -> None:
    assert cpus.usable_cpus() == 8


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("max 100000\n", 8),
        ("\n", 8),
        ("many 100000\n", 8),
    ],
)
def test_a_quota_of_version_2(groups: Path, content: str, count: int) -> None:
    (groups / "cpu.max").write_text(content)
    assert cpus.usable_cpus() == count


@pytest.mark.parametrize(
    ("quota", "period", "count"), [("300000\n", "100000\n", 3), ("-1\n", "100000\n", 8), ("30000\n", "100000\n", 1), ("x\n", "100000\n", 8)]
)
def test_a_quota_of_version_1(groups: Path, quota: str, period: str, count: int) -> None:
    write_v1(groups, quota, period)
    assert cpus.usable_cpus() == count


def test_on_a_machine_that_knows_no_affinity_all_count(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus.usable_cpus() == 1


def test_here() -> None:
    assert 1 <= cpus.usable_cpus() <= (os.cpu_count() or 1)
