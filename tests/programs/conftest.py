"""An embedded instance for programs that users write, and what they look at and listen to."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import qrcode

import angus.client
from accounts.model import DEMO_SECRET
from angus import sound
from tests.integration.processes import ROOT, running_system
from tests.services.helpers import astronaut, jpeg, wav

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
    with running_system(folder, {"LOG_LEVEL": "warning"}) as system:
        process = system.start("up")
        asyncio.run(process.ready(120))
        things = folder / "things"
        things.mkdir()
        make_pictures(things)
        make_sounds(things, process.url)
        yield Instance(process.url, things)


def make_pictures(folder: Path) -> None:
    """``photo.jpg`` and videos of it, 512 x 512: ``still.mp4`` without change, ``moving.mp4`` with a card that is pushed across it, ``code.mp4`` of a code."""
    (folder / "photo.jpg").write_bytes(jpeg(np.array(astronaut())))
    write_video(folder / "still.mp4", [np.array(astronaut())] * FRAMES)
    code = qrcode.make("http://www.angus.ai", box_size=12).get_image().convert("RGB").resize((512, 512))
    write_video(folder / "code.mp4", [np.array(code)] * 3)
    write_video(folder / "moving.mp4", [with_card(np.array(code)[100:260, 100:260], 40 + 10 * n) for n in range(FRAMES)])
    (folder / "code.jpg").write_bytes(jpeg(np.array(code)))


def with_card(card: np.ndarray, left: int) -> np.ndarray:
    picture = np.array(astronaut())
    picture[300:460, left : left + 160] = card
    return picture


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (512, 512))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame))
    writer.release()


def make_sounds(folder: Path, url: str) -> None:
    """``voice.wav``: a sentence of Sensorium's own between silences, mono; ``stereo.wav``: noise from the right, 48 kHz."""
    with angus.client.connect(url, client_id=DEMO_SECRET.client_id, access_token=DEMO_SECRET.access_token) as conn:
        job = conn.services.get_service("text_to_speech").process({"text": "Is anybody there? I can hear you quite well.", "lang": "en-GB"})
    (folder / "voice.wav").write_bytes(between_silences(sound.decode(job.result["sound"])))
    noise = np.random.default_rng(5).normal(0, 0.1, 48_000)
    noise[:12_000] = noise[36_000:] = 0
    delay = round(0.14 * np.sin(0.5) / 343.0 * 48_000)
    left, right = np.roll(noise, delay), noise
    (folder / "stereo.wav").write_bytes(wav(np.stack([left, right], axis=1), 48_000))


def between_silences(speech: bytes) -> bytes:
    with wave.open(io.BytesIO(speech)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768
    return wav(np.concatenate([np.zeros(rate), samples, np.zeros(rate)]), rate)
