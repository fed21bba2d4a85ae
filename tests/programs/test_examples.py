"""Every program of ``examples/`` on a file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from accounts.model import DEMO_EMAIL
from tests.integration.processes import ROOT
from tests.programs.conftest import FRAMES, Instance

EXAMPLES = ROOT / "examples"


def run(instance: Instance, folder: Path, name: str, *words: str) -> list[str]:
    return instance.run(folder, str(EXAMPLES / f"{name}.py"), *words).splitlines()


#: Video, what must be said, and how many times at least.
ON_A_VIDEO = {
    "face_detection": ("still.mp4", r"1 faces", FRAMES - 3),
    "upper_body_detection": ("still.mp4", r"1 people", FRAMES - 4),
    "age_and_gender_estimation": ("still.mp4", r"female, \d\d", FRAMES - 3),
    "face_expression_estimation": ("still.mp4", r"happiness", FRAMES - 4),
    "gaze_analysis": ("still.mp4", r"yaw [+-]0\.\d\d, pitch [+-]0\.\d\d", FRAMES - 3),
    "motion_detection": ("moving.mp4", r"at \d+, \d+: \+\d+, [+-]\d+ pixels a frame", 3),
    "qrcode_decoder": ("code.mp4", r"http://www\.angus\.ai", 3),
    "scene_analysis": ("still.mp4", r"[0-9a-f]{8} appearance: .*", 1),
    "live_gaze": ("still.mp4", r"frame \d+: 1 people", FRAMES - 6),
}


@pytest.mark.parametrize("name", ON_A_VIDEO)
def test_a_video_is_drawn_into(instance: Instance, tmp_path: Path, name: str) -> None:
    video, said, times = ON_A_VIDEO[name]
    source = instance.things / video
    lines = run(instance, tmp_path, name, "--input", str(source), "--output", "drawn.mp4", "--no-window")
    assert sum(re.fullmatch(said, line) is not None for line in lines) >= times
    before, after = frames(source), frames(tmp_path / "drawn.mp4")
    assert len(after) == len(before)
    assert np.abs(after[-1].astype(int) - before[-1].astype(int)).max() > 60


def frames(path: Path) -> list[np.ndarray]:
    camera, found = cv2.VideoCapture(str(path)), []
    while (read := camera.read())[0]:
        found.append(read[1])
    return found


@pytest.mark.parametrize("name", ["face_detection", "age_and_gender_estimation", "gaze_analysis"])
def test_a_picture_stands_alone(instance: Instance, tmp_path: Path, name: str) -> None:
    assert len(run(instance, tmp_path, name, "--input", str(instance.things / "photo.jpg"), "--output", "drawn.png", "--no-window")) == 1
    assert cv2.imread(str(tmp_path / "drawn.png")).shape == (512, 512, 3)


def test_people_of_an_album_are_recognised(instance: Instance, tmp_path: Path) -> None:
    for person, picture in (("eileen", "photo.jpg"), ("nobody", "code.jpg")):
        (tmp_path / "album" / person).mkdir(parents=True)
        shutil.copy(instance.things / picture, tmp_path / "album" / person / "1.jpg")
    for source in ("still.mp4", "photo.jpg"):
        lines = run(instance, tmp_path, "face_recognition", "--album", "album", "--input", str(instance.things / source), "--no-window")
        assert set(lines) == {"eileen"}


ON_A_SOUND = {
    "sound_detection": ("voice.wav", r"frame \d+: sound_on", 1),
    "voice_detection": ("voice.wav", r"VOICE", 1),
    "sound_localization": ("stereo.wav", r"\d\d degrees to the right \(\d+%\)", 1),
}


@pytest.mark.parametrize("name", ON_A_SOUND)
def test_a_sound_is_heard(instance: Instance, tmp_path: Path, name: str) -> None:
    sound, said, times = ON_A_SOUND[name]
    lines = run(instance, tmp_path, name, "--input", str(instance.things / sound))
    assert sum(re.fullmatch(said, line) is not None for line in lines) >= times


@pytest.mark.models("yamnet", "yamnet-classes")
def test_a_sound_is_named(instance: Instance, tmp_path: Path) -> None:
    lines = run(instance, tmp_path, "sound_detection", "--classes", "--input", str(instance.things / "voice.wav"))
    assert any("Speech 0." in line or "Speech 1." in line for line in lines)


@pytest.fixture
def player(tmp_path: Path) -> Path:
    """The one folder of programs: players that write down what they are to play, and say more than they are asked."""
    folder = tmp_path / "players"
    folder.mkdir()
    for name in ("aplay", "afplay", "ffplay"):
        (folder / name).write_text('#!/bin/sh\necho "$0 version 1"\necho "$@" >> played.txt\n')
        (folder / name).chmod(0o755)
    return folder


def test_a_sentence_is_spoken_without_a_sound(instance: Instance, tmp_path: Path, player: Path) -> None:
    words = ("Hello", "--lang", "fr-FR", "--output", "hello.wav")
    said = instance.run(tmp_path, str(EXAMPLES / "text_to_speech.py"), *words, PATH=str(player))
    assert re.fullmatch(r"hello\.wav, spoken by \S+\n", said)
    assert (tmp_path / "hello.wav").read_bytes()[:4] == b"RIFF"
    assert not (tmp_path / "played.txt").exists()


def test_a_sentence_is_said_aloud(instance: Instance, tmp_path: Path, player: Path) -> None:
    words = ("Hello", "--output", "hello.wav", "--play")
    instance.run(tmp_path, str(EXAMPLES / "text_to_speech.py"), *words, PATH=str(player))
    assert (tmp_path / "played.txt").read_text() == "-q hello.wav\n"


def test_what_was_counted_is_told(instance: Instance, tmp_path: Path) -> None:
    (line,) = run(instance, tmp_path, "data_retrieval", DEMO_EMAIL)
    assert '"passing_by": {"value": ' in line
    assert len(run(instance, tmp_path, "data_retrieval", DEMO_EMAIL, "--time", "by_hour", "--hours", "150")) >= 150


def test_every_example_is_run_and_listed() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")} - {"common"}
    assert names == {*ON_A_VIDEO, *ON_A_SOUND, "face_recognition", "text_to_speech", "data_retrieval"}
    readme = (EXAMPLES / "README.md").read_text()
    assert all(f"`{name}.py" in readme for name in names)
