"""The lines of the README, pasted as they stand, with a photograph and a port of one's own."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from sensorium.demo import astronaut_jpeg
from tests.integration.processes import ROOT, Process, System, running_system
from tests.needs import needs

BLOCK = re.compile(r"## Five lines to paste.*?```sh\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def own_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("readme"), {"EXTRA_SERVICES": ""}) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(own_system: System) -> Process:
    process = own_system.start("up", "dummy", "face_detection")
    await process.ready()
    return process


@needs("curl")
async def test_five_lines_to_paste(running: Process, tmp_path: Path) -> None:
    found = BLOCK.search((ROOT / "README.md").read_text())
    assert found is not None
    names, *lines = [line for line in found[1].splitlines() if line]
    assert len(lines) == 5
    assert "S=http://127.0.0.1:8000" in names
    (tmp_path / "photo.jpg").write_bytes(astronaut_jpeg())
    script = [names.replace("127.0.0.1:8000", f"127.0.0.1:{running.port}")]
    answers = []
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", "\n".join([*script, line])], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        answers.append(done.stdout)
    directory, echo, faces, blob = (json.loads(answer) for answer in answers[:4])
    assert directory["services"]["face_detection"]["available"] is True
    assert (echo["status"], echo["echo"]) == (201, "Hello world!")
    assert (faces["status"], faces["nb_faces"]) == (201, 1)
    assert (blob["status"], blob["url"].startswith(running.url)) == (201, True)
    assert "event: done" in answers[4]


@needs("curl")
def test_what_the_start_prints_can_be_pasted(own_system: System, running: Process, tmp_path: Path) -> None:
    """`make run` ends with a line for curl; whoever pastes it beside a photograph gets its faces."""
    printed = running.log.read_text()
    (line,) = re.findall(r"^ *(curl (?:.*\\\n)*.*)$", printed, re.MULTILINE)
    for name in re.findall(r"@([\w.]+)", line):
        (tmp_path / name).write_bytes(astronaut_jpeg())
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["nb_faces"] == 1
