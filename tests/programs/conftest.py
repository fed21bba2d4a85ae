"""An embedded instance for programs that users write, and what they look at and listen to."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from accounts.model import DEMO_SECRET
from tests.integration.processes import ROOT, running_system
from tools.api_inputs import code, from_the_right, jpeg, moving, photo
from tools.api_page import client_of, voice_of

FRAMES = 12


@dataclass(frozen=True)
class Instance:
    """A running Sensorium, and the folder of the things below."""

    url: str
    things: Path

    def run(self, folder: Path, *words: str, text: str = "", **environment: str) -> str:
        """What a program says that is started in ``folder``, where it is configured by ``config.json`` for the demo stream."""
        (folder / "config.json").write_text(
            json.dumps({"client_id": DEMO_SECRET.client_id, "access_token": DEMO_SECRET.access_token, "default_root": self.url})
        )
        path = os.pathsep.join(map(str, (ROOT / "sdk" / "src", Path(__file__).parent / "shims")))
        given = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", **environment}
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=folder, env=given, input=text, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("programs")
    (folder / "services").mkdir()
    with running_system(folder, {"LOG_LEVEL": "warning", "EXTRA_SERVICES": str(folder / "services")}) as system:
        process = system.start("up")
        asyncio.run(process.ready(120))
        things = folder / "things"
        things.mkdir()
        make_pictures(things)
        make_sounds(things, process.url)
        yield Instance(process.url, things)


def make_pictures(folder: Path) -> None:
    """``photo.jpg`` and videos of it, 512 x 512: ``still.mp4`` without change, ``moving.mp4`` with a card that is pushed across it,
    ``leaving.mp4`` in which the person is there and then is not; ``code.mp4``."""
    (folder / "photo.jpg").write_bytes(jpeg(photo()))
    (folder / "code.jpg").write_bytes(jpeg(code()))
    write_video(folder / "still.mp4", [photo()] * FRAMES)
    write_video(folder / "moving.mp4", [moving(n) for n in range(FRAMES)])
    write_video(folder / "leaving.mp4", [photo()] * FRAMES + [np.full_like(photo(), 128)] * 5)
    write_video(folder / "code.mp4", [code()] * 3)


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (512, 512))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame))
    writer.release()


def make_sounds(folder: Path, url: str) -> None:
    """``voice.wav``: a sentence of Sensorium's own between silences, mono; ``stereo.wav``: noise from the right, 48 kHz."""
    with client_of(url) as client:
        (folder / "voice.wav").write_bytes(voice_of(client))
    (folder / "stereo.wav").write_bytes(from_the_right())
