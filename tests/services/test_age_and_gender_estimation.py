from __future__ import annotations

import cv2
import numpy as np
import pytest

from shared.errors import UnreadableInput
from tests.services.helpers import Session, answer, astronaut, given, jpeg, labelled, loaded, png
from workers.contract import Input, Item
from workers.models import yunet
from workers.services.age_and_gender_estimation import AgeAndGenderEstimation

KEYS = ["age", "age_confidence", "gender", "gender_confidence", "roi", "roi_confidence"]


def picture(pixels: np.ndarray) -> Input:
    return given(AgeAndGenderEstimation, {"image": jpeg(pixels)})


def test_a_woman_of_middle_age() -> None:
    """Eileen Collins, at 36 when the picture was taken."""
    result = answer(loaded(AgeAndGenderEstimation), picture(astronaut()))
    assert result["input_size"] == [512, 512]
    assert result["nb_faces"] == 1
    (face,) = result["faces"]
    assert sorted(face) == KEYS
    assert isinstance(face["age"], int)
    assert 24 <= face["age"] <= 48
    assert face["gender"] == "female"
    assert 0.8 < face["gender_confidence"] <= 1
    assert 0.2 < face["age_confidence"] < 0.8


def test_nobody() -> None:
    grey = np.full((90, 120, 3), 90, np.uint8)
    assert answer(loaded(AgeAndGenderEstimation), picture(grey)) == {"input_size": [120, 90], "nb_faces": 0, "faces": []}


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (33, 31)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    value = given(AgeAndGenderEstimation, {"image": png(np.full((*size, 3), 90, np.uint8))})
    assert answer(loaded(AgeAndGenderEstimation), value)["nb_faces"] == 0


def test_grey_pictures_are_as_good() -> None:
    """The reference's programs send grey ones."""
    grey = cv2.cvtColor(astronaut(), cv2.COLOR_BGR2GRAY)
    (face,) = answer(loaded(AgeAndGenderEstimation), given(AgeAndGenderEstimation, {"image": jpeg(grey, 80)}))["faces"]
    assert face["gender"] == "female"
    assert 20 <= face["age"] <= 50


def test_a_tilted_head_is_as_old() -> None:
    service = loaded(AgeAndGenderEstimation)
    (upright,) = answer(service, picture(astronaut()))["faces"]
    for degrees in (-20, 20):
        turn = cv2.getRotationMatrix2D((224, 125), degrees, 1.0)
        (face,) = answer(service, picture(cv2.warpAffine(astronaut(), turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)))["faces"]
        assert abs(face["age"] - upright["age"]) <= 6
        assert face["gender"] == upright["gender"]


def test_faces_of_a_batch_are_as_each_alone() -> None:
    service = loaded(AgeAndGenderEstimation)
    pair = np.hstack([astronaut()[:300, 80:380], astronaut()[:300, 380:79:-1]])
    inputs = [picture(astronaut()), picture(np.zeros((60, 80, 3), np.uint8)), picture(pair)]
    together = [output.as_result() for output in service.process([Item(value) for value in inputs])]
    assert [result["nb_faces"] for result in together] == [1, 0, 2]
    for result, value in zip(together, inputs, strict=True):
        for face, alone in zip(result["faces"], answer(service, value)["faces"], strict=True):
            assert abs(face["age"] - alone["age"]) <= 1
            assert face["gender_confidence"] == pytest.approx(alone["gender_confidence"], abs=0.01)


def test_not_a_picture() -> None:
    value = given(AgeAndGenderEstimation, {"image": b"\x89PNG\r\n\x1a\n" + bytes(40)})
    with pytest.raises(UnreadableInput):
        value.image.decode()  # type: ignore[attr-defined]


def test_with_a_session_age_and_gender_settle() -> None:
    """What is said of a face of which noisy pictures come varies less than what each picture says."""
    service, session = loaded(AgeAndGenderEstimation), Session(loaded(AgeAndGenderEstimation))
    random = np.random.default_rng(11)
    frames = [picture(np.clip(astronaut() + random.normal(0, 30, astronaut().shape), 0, 255).astype(np.uint8)) for _ in range(14)]
    single = [answer(service, frame)["faces"][0]["age"] for frame in frames]
    results = [session.frame(frame) for frame in frames]
    assert [result["nb_faces"] for result in results] == [0, 0, 0] + [1] * 11
    faces = [face for result in results for face in result["faces"]]
    assert {face["id"] for face in faces} == {1}
    assert {face["gender"] for face in faces} == {"female"}
    settled = [face["age"] for face in faces][-6:]
    assert np.std(settled) < np.std(single)
    assert settled[-1] == pytest.approx(np.mean(single), abs=1.5)


def test_the_state_forgets_who_left() -> None:
    session = Session(loaded(AgeAndGenderEstimation))
    empty = picture(np.zeros((512, 512, 3), np.uint8))
    for frame in [picture(astronaut())] * 4 + [empty] * 12:
        session.frame(frame)
    assert len(session.stored) < 200


def test_the_example_has_a_face() -> None:
    assert answer(loaded(AgeAndGenderEstimation), AgeAndGenderEstimation.example())["nb_faces"] == 1


@pytest.mark.models(yunet.MODEL)
def test_labelled_faces() -> None:
    folder, rows = labelled("age_and_gender_estimation")
    service = loaded(AgeAndGenderEstimation)
    errors, adult, right, sure, near, near_said = [], [], [], [], [], []
    for row in rows:
        faces = answer(service, given(AgeAndGenderEstimation, {"image": (folder / row["file"]).read_bytes()}))["faces"]
        face = max(faces, key=lambda face: face["roi"][2] * face["roi"][3])
        errors.append(abs(face["age"] - float(row["age"])))
        adult.append(float(row["age"]) >= 18)
        right.append(face["gender"][0] == row["gender"])
        sure.append(face["gender_confidence"])
        near.append(errors[-1] <= 5)
        near_said.append(face["age_confidence"])
    assert len(errors) == 83
    assert np.mean(errors) <= 7.7
    assert np.mean(np.array(errors)[adult]) <= 7.3
    assert sum(right) >= 80
    assert calibration_error(np.array(sure), np.array(right)) <= 0.05
    assert abs(np.mean(near) - np.mean(near_said)) < 0.1


def calibration_error(said: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error with ten bins."""
    bins = np.minimum((said * 10).astype(int), 9)
    return float(sum(abs(said[bins == k].mean() - right[bins == k].mean()) * np.mean(bins == k) for k in np.unique(bins)))
