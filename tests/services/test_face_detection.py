from __future__ import annotations

import cv2
import numpy as np
import pytest

from shared.errors import UnreadableInput
from tests.services.helpers import Session, answer, astronaut, by_file, given, jpeg, labelled, loaded, png
from workers.contract import Input, Item
from workers.lib.boxes import intersection_over_union
from workers.services.face_detection import FaceDetection

NOSE = (224, 125)


def picture(pixels: np.ndarray) -> Input:
    return given(FaceDetection, {"image": jpeg(pixels)})


def moved(right: int, down: int = 0) -> np.ndarray:
    return cv2.warpAffine(astronaut(), np.array([[1.0, 0, right], [0, 1.0, down]]), (512, 512), borderMode=cv2.BORDER_REPLICATE)


def inside(roi: list[int], point: tuple[float, float]) -> bool:
    return roi[0] <= point[0] <= roi[0] + roi[2] and roi[1] <= point[1] <= roi[1] + roi[3]


def test_the_face_of_a_photograph() -> None:
    result = answer(loaded(FaceDetection), picture(astronaut()))
    assert result["input_size"] == [512, 512]
    assert result["nb_faces"] == 1
    (face,) = result["faces"]
    assert sorted(face) == ["roi", "roi_confidence"]
    assert inside(face["roi"], NOSE)
    assert 70 < face["roi"][2] < 130
    assert 0.9 < face["roi_confidence"] <= 1


def test_input_size_is_width_and_height() -> None:
    wide = np.full((100, 300, 3), 128, np.uint8)
    assert answer(loaded(FaceDetection), picture(wide)) == {"input_size": [300, 100], "nb_faces": 0, "faces": []}


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (31, 33), (3000, 20)])
def test_odd_sizes_have_no_faces_and_no_errors(size: tuple[int, int]) -> None:
    result = answer(loaded(FaceDetection), given(FaceDetection, {"image": png(np.full((*size, 3), 90, np.uint8))}))
    assert result["nb_faces"] == 0


def test_boxes_stay_inside_the_picture() -> None:
    cut = astronaut()[:, 205:]  # through the face
    result = answer(loaded(FaceDetection), picture(np.ascontiguousarray(cut)))
    for x, y, width, height in (face["roi"] for face in result["faces"]):
        assert x >= 0
        assert y >= 0
        assert x + width <= cut.shape[1]
        assert y + height <= cut.shape[0]


def test_a_face_that_fills_the_picture() -> None:
    close = cv2.resize(np.ascontiguousarray(astronaut()[50:185, 165:285]), (1200, 1350), interpolation=cv2.INTER_CUBIC)
    assert answer(loaded(FaceDetection), picture(close))["nb_faces"] == 1


def test_a_batch_answers_as_its_items_do() -> None:
    service = loaded(FaceDetection)
    inputs = [picture(astronaut()), picture(np.zeros((60, 80, 3), np.uint8)), picture(moved(40)), picture(astronaut()[:300])]
    together = [output.as_result() for output in service.process([Item(value) for value in inputs])]
    for result, value in zip(together, inputs, strict=True):
        alone = answer(service, value)
        assert result["nb_faces"] == alone["nb_faces"]
        for one, other in zip(result["faces"], alone["faces"], strict=True):
            assert np.allclose(one["roi"], other["roi"], atol=1)
            assert one["roi_confidence"] == pytest.approx(other["roi_confidence"], abs=0.01)


def test_with_a_session_a_face_is_reported_from_its_fourth_frame_on() -> None:
    session = Session(loaded(FaceDetection))
    results = [session.frame(picture(astronaut())) for _ in range(6)]
    assert [result["nb_faces"] for result in results] == [0, 0, 0, 1, 1, 1]
    assert [len(result["faces"]) for result in results] == [0, 0, 0, 1, 1, 1]


def test_an_interrupted_run_begins_again() -> None:
    session = Session(loaded(FaceDetection))
    empty = picture(np.zeros((512, 512, 3), np.uint8))
    frames = [picture(astronaut())] * 3 + [empty] + [picture(astronaut())] * 4
    assert [session.frame(frame)["nb_faces"] for frame in frames] == [0, 0, 0, 0, 0, 0, 0, 1]


def test_a_moving_face_keeps_its_id_through_missing_frames() -> None:
    session = Session(loaded(FaceDetection))
    empty = picture(np.zeros((512, 512, 3), np.uint8))
    seen = []
    for step in range(16):
        result = session.frame(empty if step in (8, 9, 10) else picture(moved(10 * step, 3 * step)))
        assert result["nb_faces"] == (0 if step < 3 or step in (8, 9, 10) else 1), step
        seen += result["faces"]
    assert {face["id"] for face in seen} == {1}
    assert inside(seen[-1]["roi"], (NOSE[0] + 150, NOSE[1] + 45))


def test_skipped_frames_do_not_break_a_run() -> None:
    session = Session(loaded(FaceDetection))
    assert [session.frame(picture(astronaut()), skipped)["nb_faces"] for skipped in (0, 0, 2, 0)] == [0, 0, 0, 1]


def test_not_a_picture() -> None:
    value = given(FaceDetection, {"image": b"GIF89a..."})
    with pytest.raises(UnreadableInput, match="JPEG or PNG"):
        value.image.decode()  # type: ignore[attr-defined]


def test_the_example_has_a_face() -> None:
    assert answer(loaded(FaceDetection), FaceDetection.example())["nb_faces"] == 1


def test_labelled_faces() -> None:
    """Every labelled face is found, and nothing else where all faces are labelled."""
    folder, rows = labelled("face_detection")
    service = loaded(FaceDetection)
    found = labels = false = 0
    for name, labelled_here in by_file(rows):
        rois = [face["roi"] for face in answer(service, given(FaceDetection, {"image": (folder / name).read_bytes()}))["faces"]]
        faces = [row for row in labelled_here if row["label_kind"] != "none"]
        matches = [[is_face(roi, row) for roi in rois] for row in faces]
        labels += len(faces)
        found += sum(any(row) for row in matches)
        if all(row["complete"] == "1" for row in labelled_here):
            false += sum(not any(row[index] for row in matches) for index in range(len(rois)))
    assert labels == 45
    assert found / labels == 1.0
    assert false == 0


def is_face(roi: list[int], row: dict[str, str]) -> bool:
    if row["label_kind"] == "nose":
        return inside(roi, (float(row["x"]), float(row["y"])))
    box = np.array([[float(row[key]) for key in "xywh"]])
    return bool(intersection_over_union(np.array([roi]), box)[0, 0] >= 0.4)
