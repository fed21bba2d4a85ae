"""`sensorium analyze` on a video, against both forms of the system."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

from sensorium.cameras import Video, is_live
from sensorium.drawing import caption, draw
from shared.errors import UnreadableInput
from tests.contract.brokers import until
from tests.integration.processes import ROOT, Process, System, command, running_system
from tests.motion_jpeg import motion_jpeg
from tests.servers.base import free_port
from tests.services.helpers import astronaut
from tests.support import forked

FRAMES = 14
#: Who is in view is one person, however long the machine takes between two frames.
SETTINGS = {"SESSION_SECONDS": "60"}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames a second of somebody who is simply there, 512 x 512."""
    path = tmp_path_factory.mktemp("video") / "astronaut.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (512, 512))
    for _ in range(FRAMES):
        writer.write(np.array(astronaut()))
    writer.release()
    return path


def test_a_video_becomes_lines_and_a_drawn_video(system: tuple[str, System], gateway: Process, video: Path, tmp_path: Path) -> None:
    lines, drawn = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    user = ":".join(system[1].credentials)
    options = ["--url", gateway.url, "--user", user, "--jsonl", str(lines), "--output", str(drawn), "--start", "2024-06-01T10:00:00"]
    said = system[1].run("analyze", str(video), *options, "--sensitivity", "appearance=0.9", "--width", "400")
    assert f"{FRAMES} frames; 1 people" in said
    assert "appearance 1" in said
    answers = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [answer["timestamp"] for answer in answers[:2]] == ["2024-06-01T10:00:00+00:00", "2024-06-01T10:00:00.100000+00:00"]
    assert len(answers) == FRAMES
    assert len(answers[-1]["entities"]) == 1
    shown = list(Video(str(drawn)).frames())
    assert (len(shown), shown[0].pixels.shape) == (FRAMES, (400, 400, 3))
    assert np.abs(shown[-1].pixels.astype(int) - shown[0].pixels.astype(int)).max() > 60  # boxes appeared


async def test_frames_that_take_longer_than_a_request_is_held(video: Path, tmp_path: Path) -> None:
    """A busy server answers that the job goes on; its client waits for the end, and nobody is counted twice meanwhile."""
    with running_system(tmp_path, {"HOLD_SECONDS": "0.001"}) as made:
        process = made.start("up", "scene_analysis")
        await process.ready()
        words = ("analyze", str(video), "--url", process.url, "--no-progress", "--sensitivity", "appearance=0.9")
        said = await asyncio.to_thread(made.run, *words)
    assert said.startswith(f"{FRAMES} frames; 1 people")


def test_a_stream_is_found_by_its_name_or_its_file(system: tuple[str, System], gateway: Process, video: Path, tmp_path: Path) -> None:
    form, made = system
    client_id, token = made.credentials
    name, file = "door" if form == "distributed" else "Demo", tmp_path / "door.json"
    file.write_text(json.dumps({"client_id": client_id, "access_token": token}))
    for stream in (name, client_id, str(file)):
        said = made.run("analyze", str(video), "--url", gateway.url, "--stream", stream, "--max-frames", "1", "--no-progress")
        assert said.startswith("1 frames")
    for wrong, reason in (("nowhere", f"there are: {name}"), (str(video), "add-stream"), (str(tmp_path / "no.json"), "No such file")):
        done = forked.run(["analyze", str(video), "--url", gateway.url, "--stream", wrong], made.environment, ROOT)
        assert (done.returncode, reason in done.stderr, "Traceback" in done.stderr) == (69, True, False), done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--user", "nobody:nothing"], "--stream"),
        (["--sensitivity", "appearance"], "appearance=0.7"),
        (["--url", f"http://127.0.0.1:{free_port()}"], "make run"),
    ],
)
def test_what_goes_wrong_is_said_with_what_mends_it(gateway: Process, video: Path, options: list[str], reason: str) -> None:
    done = forked.run(["analyze", str(video), "--url", gateway.url, *options], os.environ, ROOT)
    assert done.returncode not in (0, 1)
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_camera_outlives_a_restart_of_sensorium(tmp_path: Path) -> None:
    with running_system(tmp_path, {}) as made:
        first = made.start("up", "scene_analysis")
        await first.ready()
        async with motion_jpeg(failing=False) as camera:
            lines = tmp_path / "lines.jsonl"
            given = command("analyze", camera.address, "--url", first.url, "--jsonl", str(lines), "--max-frames", "100000", "--no-progress")
            analyze = await asyncio.create_subprocess_exec(*given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
            assert analyze.stderr is not None
            await until(lambda: _is_longer(lines, 0))
            first.kill()
            assert b"nothing answers" in await asyncio.wait_for(analyze.stderr.readline(), 30)
            second = made.start("up", "scene_analysis", port=first.port)
            await second.ready()
            before = lines.stat().st_size
            assert b"answers come again" in await asyncio.wait_for(analyze.stderr.readline(), 30)
            await until(lambda: _is_longer(lines, before))
            analyze.send_signal(signal.SIGINT)
            said, complaints = await asyncio.wait_for(analyze.communicate(), 30)
        assert analyze.returncode == 0
        assert b"dropped; 0 people" in said
        assert complaints == b""


async def _is_longer(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size > size


def test_fewer_frames_keep_their_times(video: Path) -> None:
    frames = list(Video(str(video), fps=5).frames())
    assert [round(frame.seconds, 3) for frame in frames] == [n / 5 for n in range(FRAMES // 2)]


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UnreadableInput, match=r"text\.mp4"):
        Video(str(tmp_path / "text.mp4"))


def test_cameras_are_told_from_files() -> None:
    assert [is_live(source) for source in ("0", "rtsp://camera/1", "https://camera/mjpeg", "door.mp4", "10.mp4")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_an_entity_of_whom_little_is_known_can_be_drawn() -> None:
    entity = dict.fromkeys(
        ("age", "gender", "gaze", "face_eye", *(f"emotion_{name}" for name in ("anger", "surprise", "sadness", "neutral", "happiness")))
    )
    entity |= {"face_roi": [10, 10, 20, 20], "full_body_roi": [5, 5, 40, 80]}
    entity |= dict.fromkeys(("face_roi_confidence", "full_body_roi_confidence", "gaze_confidence"), 0.0)
    picture = np.zeros((100, 100, 3), np.uint8)
    assert draw(picture, {"entities": {"abcdef": entity}}, ["abcd appearance"]).any()
    assert not picture.any()
    assert caption("abcdef", entity) == "abcd"
