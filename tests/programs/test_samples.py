"""The programs of the 2018 documentation run with today's client as they are printed there."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from accounts.model import DEMO_EMAIL, DEMO_SECRET
from tests.programs.conftest import FRAMES, Instance

HERE = Path(__file__).parent
SAMPLES = HERE / "samples"
#: Those that the tests below run one by one; the others are in the tables.
OWN = {
    "data_retrieval",
    "motion_detection_start",
    "scene_analysis_start",
    "text_to_speech",
    "text_to_speech_start",
    "face_recognition_start",
}


@pytest.fixture
def run(instance: Instance, tmp_path: Path) -> Callable[..., str]:
    """What a sample says, by its name. ``words`` are its arguments, ``edits`` what its user writes in place of what is printed."""

    def run_sample(name: str, *words: str, edits: dict[str, str] | None = None, **environment: str) -> str:
        text = (SAMPLES / f"{name}.txt").read_text()
        for printed, own in (edits or {}).items():
            assert printed in text
            text = text.replace(printed, own)
        (tmp_path / f"{name}.py").write_text(text)
        return instance.run(tmp_path, str(HERE / "run.py"), f"{name}.py", *words, **environment)

    return run_sample


def shown(said: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(said.splitlines()[-1])
    return found


def printed(said: str) -> Any:
    """The one result that a sample printed."""
    return ast.literal_eval("\n".join(said.splitlines()[:-1]))


ON_A_PHOTO = {
    "age_and_gender_estimation_start": lambda result: result["faces"][0]["gender"] == "female",
    "face_detection_start": lambda result: result["nb_faces"] == 1,
    "face_expression_estimation_start": lambda result: result["faces"][0]["happiness"] > 0.5,
    "gaze_analysis_start": lambda result: abs(result["faces"][0]["head_yaw"]) < 0.5,
    "upper_body_detection_start": lambda result: result["nb_upper_bodies"] == 1,
    "qrcode_decoder_start": lambda result: result["data"] == "http://www.angus.ai",
    "dummy_start": lambda result: result["echo"] == "Hello world",
}


@pytest.mark.parametrize("name", ON_A_PHOTO)
def test_getting_started_with_a_picture(run: Callable[..., str], instance: Instance, tmp_path: Path, name: str) -> None:
    shutil.copy(instance.things / "photo.jpg", tmp_path / "macgyver.jpg")
    shutil.copy(instance.things / "code.jpg", tmp_path / "qrcode.jpg")
    result = printed(run(name))
    assert result["status"] == 201
    assert ON_A_PHOTO[name](result)


ON_A_SOUND = {
    "sound_detection_start": ("voice.wav", lambda result: result["events"][0]["type"] == "sound_on"),
    "voice_detection_start": ("voice.wav", lambda result: result["voice_activity"] in ("ON", "VOICE", "OFF")),
    "sound_localization_start": ("stereo.wav", lambda result: result["nb_sources"] >= 1),
}


@pytest.mark.parametrize("name", ON_A_SOUND)
def test_getting_started_with_a_sound(run: Callable[..., str], instance: Instance, tmp_path: Path, name: str) -> None:
    sound, holds = ON_A_SOUND[name]
    shutil.copy(instance.things / sound, tmp_path / "sound.wav")
    assert holds(printed(run(name)))


#: What the camera sees, the colour that is drawn, and whether from the session's fourth frame on or sooner.
ON_A_CAMERA = {
    "audience_app": ("still.mp4", "dark green", 3),
    "scene_analysis": ("still.mp4", "green", 3),
    "upper_body_detection": ("still.mp4", "green", 3),
    "age_and_gender_estimation": ("still.mp4", "green", 3),
    "face_expression_estimation": ("still.mp4", "green", 3),
    "face_detection": ("still.mp4", "green", 3),
    "face_recognition": ("still.mp4", "green", 3),
    "gaze_analysis": ("still.mp4", "orange", 3),
    "motion_detection": ("moving.mp4", "white", 3),
    "qrcode_decoder": ("code.mp4", None, 0),
    "camera": ("still.mp4", None, 0),
}


@pytest.mark.parametrize("name", ON_A_CAMERA)
def test_a_camera_s_program_shows_and_draws(run: Callable[..., str], instance: Instance, tmp_path: Path, name: str) -> None:
    video, colour, late = ON_A_CAMERA[name]
    (tmp_path / "images").mkdir()
    for person in ("gwenn", "aurelien", "sylvain"):
        shutil.copy(instance.things / "photo.jpg", tmp_path / "images" / f"{person}.jpg")
    said = run(name, PROGRAM_VIDEO=str(instance.things / video))
    frames = int(cv2.VideoCapture(str(instance.things / video)).get(cv2.CAP_PROP_FRAME_COUNT))
    assert shown(said)["pictures"] == frames
    if colour is not None:
        assert shown(said)[colour] >= FRAMES - late - 2
    if name == "scene_analysis":
        assert "appearance| " in said
    if name == "qrcode_decoder":
        assert said.count("'http://www.angus.ai'") == frames


def test_the_audience_application_goes_on_when_somebody_leaves(run: Callable[..., str], instance: Instance) -> None:
    """It unpacks the eyes of everybody who is told of."""
    said = run("audience_app", PROGRAM_VIDEO=str(instance.things / "leaving.mp4"))
    assert shown(said)["pictures"] == FRAMES + 5


def test_the_highest_confidence_is_the_person_s(run: Callable[..., str], instance: Instance, tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    for person, samples in {
        "melissa": ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"),
        "jamel": ("1.jpeg", "2.jpg", "3.jpg", "4.jpg"),
    }.items():
        (folder / person).mkdir(parents=True)
        for sample in samples:
            source = instance.things / ("photo.jpg" if person == "melissa" else "code.jpg")
            shutil.copy(source, folder / person / sample)
    result = printed(run("face_recognition_start", edits={"/path/to/your/face/samples/": f"{folder}/"}))
    names = result["faces"][0]["names"]
    assert names[0]["key"] == "melissa"
    assert names[0]["confidence"] > 0.5


def test_two_hundred_photographs_of_something_that_moves(run: Callable[..., str], instance: Instance, tmp_path: Path) -> None:
    camera = cv2.VideoCapture(str(instance.things / "moving.mp4"))
    frames = [camera.read()[1] for _ in range(FRAMES)]
    there_and_back = [*frames, *frames[-2:0:-1]]
    for n in range(200):
        cv2.imwrite(str(tmp_path / f"photo-{n}.jpg"), there_and_back[n % len(there_and_back)])
    said = run("motion_detection_start")
    assert said.count("'nb_targets'") == 200
    assert "'mean_velocity'" in said


def test_the_scene_without_end(run: Callable[..., str], instance: Instance, tmp_path: Path) -> None:
    shutil.copy(instance.things / "photo.jpg", tmp_path / "image.jpg")
    said = run("scene_analysis_start", PROGRAM_PRINTS="8")
    assert said.count("'timestamp': '2016-10-26T16:21:01.136287+00:00'") == 8
    assert "interrupted" in said


def test_speech_is_made_and_played(run: Callable[..., str], tmp_path: Path) -> None:
    assert "called /usr/bin/aplay ./output.wav" in run("text_to_speech")
    assert (tmp_path / "output.wav").read_bytes()[:4] == b"RIFF"
    run("text_to_speech_start")


#: What the microphone hears, and what must be said about it.
ON_A_MICROPHONE = {
    "sound_detection": ("voice.wav", "'type': 'sound_on'"),
    "voice_detection": ("voice.wav", "*****  VOICE !!!!  *****"),
    "sound_localization": ("stereo.wav", "'yaw': 0."),
}


@pytest.mark.parametrize("name", ON_A_MICROPHONE)
def test_a_microphone_s_program_hears(run: Callable[..., str], instance: Instance, name: str) -> None:
    sound, heard = ON_A_MICROPHONE[name]
    said = run(name, "0", PROGRAM_SOUND=str(instance.things / sound))
    assert heard in said
    assert "interrupted" in said


def test_the_data_of_the_last_day(run: Callable[..., str], instance: Instance) -> None:
    login = {"test@example.com": DEMO_EMAIL, "https://console.angus.ai": instance.url, "https://data.angus.ai": instance.url}
    text = '"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"'
    own = {
        f'"client_id": {text}': f'"client_id": "{DEMO_SECRET.client_id}"',
        f'"access_token": {text}': f'"access_token": "{DEMO_SECRET.access_token}"',
    }
    said = run("data_retrieval", edits={**login, **own})
    overall = json.loads(said[: said.rindex("}\n{") + 1])
    assert overall["time"] == "global"
    (bucket,) = overall["entities"].values()
    assert set(bucket) == {"passing_by", "interested", "stop_time", "attention_time"}


def test_every_sample_is_run() -> None:
    assert {path.stem for path in SAMPLES.glob("*.txt")} == {*ON_A_PHOTO, *ON_A_SOUND, *ON_A_CAMERA, *ON_A_MICROPHONE, *OWN}
