"""`bench/gpu.sh` without a GPU: all of it but the card."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu.compare import Loaded, differences, loaded, table
from tests.integration.processes import ROOT


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SENSORIUM_")}
    command = ["sh", "bench/gpu.sh", *arguments]
    return subprocess.run(
        command, env={**environment, "BENCH_PYTHON": sys.executable}, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_it_writes_its_section(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text("# Benchmarks\n\n<!-- bench:dummy:begin -->\nsomething\n<!-- bench:dummy:end -->\n")
    short = ("--seconds", "0.05", "--session-seconds", "1", "--memory-seconds", "2", "--most", "1", "--services", "face_detection")
    done = bench("--device", "cpu", *short, "--document", str(document))
    text = document.read_text()
    assert "written:" in done.stdout, done.stdout + done.stderr
    assert "answers differ" not in done.stderr
    assert "something" in text
    for row in ("| face_detection | yes |", "| yunet | ", "| process | "):
        assert row in text
    assert ("**0 cameras**" in text) != ("**1 cameras**" in text)
    assert text.count("<!-- bench:gpu-on-cpu:") == 2


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a GPU")
def test_without_a_card_it_says_so_and_ends() -> None:
    done = bench()
    assert (done.returncode, "there is no GPU" in done.stderr) == (69, True)


def test_an_answer_that_differs_is_found() -> None:
    here = {"faces": [{"roi": [10, 20, 30, 40], "roi_confidence": 0.91}], "nb_faces": 1}
    assert max(share for _, share in differences(here, here)) == 0
    near = {"faces": [{"roi": [11, 20, 30, 40], "roi_confidence": 0.915}], "nb_faces": 1}
    assert 0 < max(share for _, share in differences(here, near)) < 1
    for far in (
        {"faces": [{"roi": [14, 20, 30, 40], "roi_confidence": 0.91}], "nb_faces": 1},
        {"faces": [{"roi": [10, 20, 30, 40], "roi_confidence": 0.7}], "nb_faces": 1},
        {"faces": [], "nb_faces": 1},
        {"faces": [{"roi": [10, 20, 30, 40]}], "nb_faces": 1},
    ):
        assert max(share for _, share in differences(here, far)) > 1


def test_every_service_with_networks_answers_twice_the_same() -> None:
    """What is random in answers is left out of the comparison; else a card would be blamed for it."""
    ours, missing = loaded("cpu")
    names = {one.kind.name for one in ours}
    assert {"face_detection", "scene_analysis", "voice_detection", "face_recognition"} <= names
    assert not missing
    text, same = table(ours, _again(ours), "cpu")
    assert same, text


def _again(ours: list[Loaded]) -> list[Loaded]:
    return loaded("cpu", [one.kind.name for one in ours])[0]
