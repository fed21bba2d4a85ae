from __future__ import annotations

from collections.abc import Iterator
from math import cos, degrees, sin
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.errors import UnreadableInput
from tests.services.helpers import Session, answer, astronaut, chosen, given, jpeg, labelled, loaded, png
from workers.contract import Input
from workers.models import facemesh, gaze
from workers.services.gaze_analysis import GazeAnalysis

POINTS = ["eye_left", "eye_right", "nose"]
ANGLES = ["gaze_pitch", "gaze_yaw", "head_pitch", "head_roll", "head_yaw"]


def picture(pixels: np.ndarray) -> Input:
    return given(GazeAnalysis, {"image": jpeg(pixels)})


def only(result: dict[str, Any]) -> dict[str, Any]:
    (face,) = result["faces"]
    return dict(face)


def turned(clockwise: float, pixels: np.ndarray | None = None) -> np.ndarray:
    turn = cv2.getRotationMatrix2D((224, 125), -clockwise, 1.0)
    return cv2.warpAffine(astronaut() if pixels is None else pixels, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)


def test_somebody_who_faces_the_camera() -> None:
    result = answer(loaded(GazeAnalysis), picture(astronaut()))
    assert result["input_size"] == [512, 512]
    face = only(result)
    assert sorted(face.keys() - {"gaze_confidence"}) == sorted([*POINTS, *ANGLES, "roi", "roi_confidence"])
    assert ("gaze_confidence" in face) == (chosen(gaze.MODEL) == facemesh.MODEL)
    assert all(isinstance(value, int) for point in POINTS for value in face[point])
    # Where they are in the photograph, by eye.
    assert np.allclose(face["eye_left"], [205, 104], atol=8)
    assert np.allclose(face["eye_right"], [247, 105], atol=8)
    assert np.allclose(face["nose"], [225, 127], atol=8)
    assert all(abs(degrees(face[angle])) < 15 for angle in ANGLES)


@pytest.mark.parametrize("clockwise", [-20, -10, 10, 20])
def test_roll_is_clockwise(clockwise: float) -> None:
    service = loaded(GazeAnalysis)
    upright, tilted = only(answer(service, picture(astronaut()))), only(answer(service, picture(turned(clockwise))))
    assert degrees(tilted["head_roll"] - upright["head_roll"]) == pytest.approx(clockwise, abs=4)


def test_a_mirror_image_looks_to_the_other_side() -> None:
    service = loaded(GazeAnalysis)
    face, mirror = (only(answer(service, picture(np.ascontiguousarray(pixels)))) for pixels in (astronaut(), astronaut()[:, ::-1]))
    assert degrees(face["head_yaw"] + mirror["head_yaw"]) == pytest.approx(0, abs=4)
    assert degrees(face["head_roll"] + mirror["head_roll"]) == pytest.approx(0, abs=4)
    assert degrees(face["gaze_yaw"] + mirror["gaze_yaw"]) == pytest.approx(0, abs=6)
    assert degrees(face["head_pitch"] - mirror["head_pitch"]) == pytest.approx(0, abs=4)
    assert mirror["eye_left"][0] == pytest.approx(511 - face["eye_right"][0], abs=4)


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (64, 64)])
def test_nobody(size: tuple[int, int]) -> None:
    value = given(GazeAnalysis, {"image": png(np.full((*size, 3), 40, np.uint8))})
    assert answer(loaded(GazeAnalysis), value) == {"input_size": [size[1], size[0]], "nb_faces": 0, "faces": []}


def test_points_of_a_face_that_is_cut_stay_inside_the_picture() -> None:
    cut = np.ascontiguousarray(astronaut()[100:, 212:400])
    for face in answer(loaded(GazeAnalysis), picture(cut))["faces"]:
        for x, y in (face[point] for point in POINTS):
            assert 0 <= x < cut.shape[1]
            assert 0 <= y < cut.shape[0]


def test_not_a_picture() -> None:
    value = given(GazeAnalysis, {"image": b"\xff\xd8\xff\xe0 no more"})
    with pytest.raises(UnreadableInput):
        value.image.decode()  # type: ignore[attr-defined]


def test_the_example_has_a_face() -> None:
    assert answer(loaded(GazeAnalysis), GazeAnalysis.example())["nb_faces"] == 1


def test_in_a_session_points_move_with_the_face_and_angles_are_steadier() -> None:
    service, session = loaded(GazeAnalysis), Session(loaded(GazeAnalysis))
    random = np.random.default_rng(4)
    single, smooth = [], []
    for step in range(16):
        shift = np.array([[1.0, 0, 6 * step], [0, 1.0, 2 * step]])
        frame = cv2.warpAffine(astronaut(), shift, (512, 512), borderMode=cv2.BORDER_REPLICATE)
        value = picture(np.clip(frame + random.normal(0, 25, frame.shape), 0, 255).astype(np.uint8))
        single.append(only(answer(service, value)))
        result = session.frame(value)
        assert result["nb_faces"] == (step >= 3)
        smooth += result["faces"]
    assert {face["id"] for face in smooth} == {1}
    assert np.allclose(smooth[-1]["nose"], [225 + 90, 127 + 30], atol=10)
    for angle in ("head_yaw", "gaze_yaw"):
        jumps = [np.abs(np.diff([face[angle] for face in faces[-13:]])).mean() for faces in (single, smooth)]
        assert jumps[1] < 0.75 * jumps[0]


def drawn(face: dict[str, Any], part: str) -> tuple[int, int]:
    """(to the right, down) of the line that the reference's program draws for the ``head`` or the ``gaze``."""
    psi = face["head_roll"] if part == "head" else 0
    theta, phi = -face[f"{part}_yaw"], face[f"{part}_pitch"]
    length = 150
    xvec = int(length * (sin(phi) * sin(psi) - cos(phi) * sin(theta) * cos(psi)))
    yvec = int(-length * (sin(phi) * cos(psi) - cos(phi) * sin(theta) * sin(psi)))
    return xvec, yvec


def frames(file: Path) -> Iterator[np.ndarray]:
    video = cv2.VideoCapture(str(file))
    while True:
        read, frame = video.read()
        if not read:
            return
        yield frame


def test_labelled_clips() -> None:
    """The reference's program draws the head's line to the side to which the head is turned, and a short one when to neither."""
    folder, rows = labelled("gaze_analysis")
    service = loaded(GazeAnalysis)
    count, pitches = 0, []
    for file in {row["file"] for row in rows}:
        faces = [only(answer(service, picture(frame))) for frame in frames(folder / file)]
        for row in (row for row in rows if row["file"] == file):
            for face in faces[int(row["frame_start"]) : int(row["frame_end"]) + 1]:
                across, _ = drawn(face, "head")
                side = "frontal" if abs(across) < 45 else "image_right" if across > 0 else "image_left"
                assert side == row["head_direction"]
                if side != "frontal":
                    assert np.sign(drawn(face, "gaze")[0]) == np.sign(across), "the eyes go with the head"
                if file == "headpose_female.gif":
                    pitches.append(degrees(face["head_pitch"]))
                count += 1
    assert count == 76
    assert np.std(pitches) < 5, "a head that turns about an upright axis keeps its pitch"


def test_in_a_labelled_clip_the_smoothed_head_follows() -> None:
    folder, _ = labelled("gaze_analysis")
    session = Session(loaded(GazeAnalysis))
    results = [session.frame(picture(frame)) for frame in frames(folder / "headpose_female.gif")]
    assert [result["nb_faces"] for result in results] == [0, 0, 0] + [1] * (len(results) - 3)
    yaws = [degrees(result["faces"][0]["head_yaw"]) for result in results[3:]]
    assert min(yaws[:3]) < -30
    assert max(yaws[9:13]) > 20
    assert {result["faces"][0]["id"] for result in results[3:]} == {1}
