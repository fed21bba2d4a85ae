"""``sensorium bench`` on a machine that is busy with tests: what it says has to be whole, not good."""

from __future__ import annotations

import os
import re
import subprocess

import psutil

from tests.integration.processes import ROOT
from tests.support import forked


def bench(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SENSORIUM_")}
    environment |= {f"SENSORIUM_{name}": value for name, value in settings.items()}
    return forked.run(["bench", *arguments], environment, ROOT, timeout=120)


def test_it_starts_a_system_of_its_own_and_says_what_streams_need() -> None:
    """What is set for the installation on this machine is not what is measured: its broker is not asked."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    words = ("--service", "face_detection", "--seconds", "1", "--fps", "2", "--most", "2", "--p95", "60000", "--streams", "40")
    done = bench(*words, BROKER="amqp://nobody@127.0.0.1:1/", MODEL_THREADS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ +1 +\d+ +\d+ +\d+ +0  yes\n +2 .* yes$", done.stdout, re.MULTILINE)
    assert "carries 2 streams: 4 frames a second." in done.stdout
    assert "40 streams need 25 like it" in done.stdout
    assert re.search(r'value: "\d+"', done.stdout)
    assert "maxReplicaCount: 38" in done.stdout
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_a_machine_that_carries_nothing_is_told_so() -> None:
    done = bench("--service", "face_detection", "--seconds", "1", "--fps", "1", "--most", "1", "--p95", "0.001")
    assert done.returncode == 1
    assert "Not even one stream is carried" in done.stdout


def test_a_service_without_pictures_is_refused_with_those_that_have_some() -> None:
    done = bench("--service", "voice_detection")
    assert done.returncode == 69
    assert "takes no pictures; those that do: age_and_gender_estimation" in done.stderr


def test_a_system_that_does_not_start_says_why() -> None:
    done = bench("--service", "face_detection", DEVICE="cuda")
    assert done.returncode == 69
    assert "could not be started for the measurement" in done.stderr or "is not available" in done.stderr
