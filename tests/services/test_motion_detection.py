from __future__ import annotations

import base64
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from shared.errors import UnreadableInput
from tests.services.helpers import Session, answer, astronaut, by_file, given, jpeg, labelled, loaded, png
from workers.contract import Input
from workers.services.motion_detection import MotionDetection, MotionDetectionState

SIZE = (640, 480)


def background(shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    """uint8 [480, 640, 3]: a photograph, seen by a camera that moved by ``shift``."""
    wide = cv2.resize(astronaut(), (840, 680), interpolation=cv2.INTER_CUBIC)
    matrix = np.array([[1, 0, -100 - shift[0]], [0, 1, -100 - shift[1]]], np.float64)
    return cv2.warpAffine(wide, matrix, SIZE)


def with_balls(*centres: tuple[float, float], shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    picture = background(shift)
    for x, y in centres:
        for radius, colour in ((40, (30, 30, 220)), (28, (240, 240, 240)), (14, (20, 20, 20))):
            cv2.circle(picture, (round(x), round(y)), radius, colour, -1, cv2.LINE_AA)
    return picture


def picture(pixels: np.ndarray) -> Input:
    return given(MotionDetection, {"image": jpeg(pixels)})


def session() -> Session:
    return Session(loaded(MotionDetection))


def test_without_a_session_nothing_moves() -> None:
    result = answer(loaded(MotionDetection), picture(with_balls((200, 200))))
    assert result == {"input_size": [640, 480], "nb_targets": 0, "targets": []}


def test_a_ball_that_rolls() -> None:
    camera = session()
    for step in range(6):
        result = camera.frame(picture(with_balls((150 + 12 * step, 240 - 6 * step))))
        assert result["nb_targets"] == len(result["targets"]) == (0 if step == 0 else 1), step
    (target,) = result["targets"]
    assert sorted(target) == ["confidence", "mean_position", "mean_velocity"]
    assert np.allclose(target["mean_position"], (210, 210), atol=12)
    assert np.allclose(target["mean_velocity"], (12, -6), atol=2)
    assert 0.5 < target["confidence"] <= 1


def test_two_balls_in_opposite_directions() -> None:
    camera = session()
    for step in range(4):
        result = camera.frame(picture(with_balls((120 + 10 * step, 120), (500 - 10 * step, 360))))
    left, right = sorted(result["targets"], key=lambda target: target["mean_position"])
    assert np.allclose(left["mean_velocity"], (10, 0), atol=2)
    assert np.allclose(right["mean_velocity"], (-10, 0), atol=2)


def test_a_camera_that_shakes_and_light_that_changes_are_not_motion() -> None:
    camera = session()
    noise = np.random.default_rng(5)
    for _ in range(12):
        shift = noise.uniform(-6, 6, 2)
        pixels = cv2.convertScaleAbs(
            background((float(shift[0]), float(shift[1]))), alpha=noise.uniform(0.7, 1.0), beta=noise.uniform(0, 25)
        )
        assert camera.frame(picture(pixels))["nb_targets"] == 0


def test_a_ball_seen_by_a_camera_that_shakes() -> None:
    camera = session()
    noise = np.random.default_rng(6)
    found = []
    for step in range(8):
        shift = noise.uniform(-5, 5, 2)
        centre = (150 + 14 * step - shift[0], 240 - shift[1])
        found.append(camera.frame(picture(with_balls(centre, shift=(float(shift[0]), float(shift[1])))))["targets"])
    assert [len(targets) for targets in found] == [0, 1, 1, 1, 1, 1, 1, 1]
    assert all(np.allclose(targets[0]["mean_velocity"], (14, 0), atol=2.5) for targets in found[1:])


@pytest.mark.parametrize("wall", ["even", "shaded"])
@pytest.mark.parametrize(("size", "colour"), [(60, (255, 255, 255)), (60, (10, 10, 10)), (150, (230, 230, 230)), (200, (20, 20, 20))])
@pytest.mark.parametrize("step", [8, 25])
def test_a_plain_thing_before_a_plain_wall(wall: str, size: int, colour: tuple[int, int, int], step: int) -> None:
    """Its outline is all there is to see: no texture anywhere, and corners at best."""
    noise = np.random.default_rng(1)
    light = np.linspace(60, 200, SIZE[0]) if wall == "shaded" else np.full(SIZE[0], 128.0)
    camera = session()
    found = []
    for number in range(10):
        pixels = np.tile(light.astype(np.float32)[None, :, None], (SIZE[1], 1, 3))
        centre = 150 + step * number, 200 + step * number // 3
        cv2.circle(pixels, centre, size // 2, colour, -1, cv2.LINE_AA)
        noisy = np.clip(pixels + noise.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)
        found.append(camera.frame(picture(noisy))["targets"])
    assert [bool(targets) for targets in found] == [False] + 9 * [True]
    assert np.allclose(found[-1][0]["mean_velocity"], (step, step / 3), atol=2.5)
    assert np.allclose(found[-1][0]["mean_position"], centre, atol=size / 3 + step / 2)


def test_a_small_thing_is_seen() -> None:
    """A 25th of the picture wide."""
    camera = session()
    found = []
    for number in range(8):
        pixels = background()
        cv2.rectangle(pixels, (200 + 8 * number, 300, 26, 26), (250, 250, 250), -1)
        found.append(camera.frame(picture(pixels))["nb_targets"])
    assert found == [0] + 7 * [1]


def test_velocities_are_a_frame_over_skipped_frames() -> None:
    camera = session()
    camera.frame(picture(with_balls((150, 240))))
    (target,) = camera.frame(picture(with_balls((174, 240))), skipped=2)["targets"]
    assert np.allclose(target["mean_velocity"], (8, 0), atol=1.5)


def test_another_size_begins_again() -> None:
    camera = session()
    camera.frame(picture(with_balls((150, 240))))
    assert camera.frame(picture(with_balls((170, 240))[:400]))["nb_targets"] == 0
    assert camera.frame(picture(with_balls((190, 240))[:400]))["nb_targets"] == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (17, 5)])
def test_odd_sizes(shape: tuple[int, int]) -> None:
    camera = session()
    noise = np.random.default_rng(0)
    for _ in range(3):
        result = camera.frame(given(MotionDetection, {"image": png(noise.integers(0, 256, (*shape, 3)).astype(np.uint8))}))
        assert result["input_size"] == [shape[1], shape[0]]


def test_positions_are_inside_the_picture() -> None:
    camera = session()
    for step in range(8):
        for target in camera.frame(picture(with_balls((600 + 12 * step, 30 - 8 * step))))["targets"]:
            assert 0 <= target["mean_position"][0] <= 639
            assert 0 <= target["mean_position"][1] <= 479


def test_the_state_is_small_and_holds_no_picture_larger_than_a_thumbnail() -> None:
    camera = session()
    large = cv2.resize(background(), (2560, 1920), interpolation=cv2.INTER_CUBIC)
    for _ in range(3):
        camera.frame(picture(large))
    assert len(camera.stored) < 12_000
    state = MotionDetectionState.model_validate_json(camera.stored)
    kept = cv2.imdecode(np.frombuffer(base64.b64decode(state.view), np.uint8), cv2.IMREAD_UNCHANGED)
    assert kept.shape == (240, 320)


def test_not_a_picture() -> None:
    with pytest.raises(UnreadableInput, match="JPEG or PNG"):
        given(MotionDetection, {"image": b"GIF89a..."}).image.decode()  # type: ignore[attr-defined]


def test_the_example_stands_still() -> None:
    camera = session()
    assert [camera.frame(MotionDetection.example())["nb_targets"] for _ in range(2)] == [0, 0]


def test_labelled_clips() -> None:
    """At ten frames a second, as the reference's programs send them."""
    folder, rows = labelled("motion_detection")
    wrong: dict[str, list[bool]] = {"0": [], "1": []}
    for name, stretches in by_file(rows):
        step = round(float(stretches[0]["fps"]) / 10)
        truth = {index: row["motion"] for row in stretches for index in range(int(row["frame_start"]), int(row["frame_end"]) + 1)}
        camera = session()
        for index, pixels in enumerate(frames(str(folder / name))):
            if index % step == 0:
                seen = camera.frame(picture(pixels))["nb_targets"] > 0
                if index in truth:
                    wrong[truth[index]].append(seen != (truth[index] == "1"))
    assert len(wrong["0"]) + len(wrong["1"]) >= 550
    assert 1 - (np.mean(wrong["0"]) + np.mean(wrong["1"])) / 2 >= 0.995


def frames(path: str) -> Iterator[np.ndarray]:
    video = cv2.VideoCapture(path)
    while (read := video.read())[0]:
        yield read[1]
