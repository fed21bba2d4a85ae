from __future__ import annotations

import cv2
import numpy as np
import pytest

from shared.errors import UnreadableInput
from tests.services.helpers import Session, answer, astronaut, by_file, given, jpeg, labelled, loaded, network, png
from workers.contract import Input, Item
from workers.lib import yolox
from workers.lib.boxes import intersection_over_union
from workers.lib.people import Boxes, People, Person, persons, tie
from workers.models import people
from workers.services.upper_body_detection import UpperBodyDetection, upper_bodies

HEAD = (224, 120)  # of the astronaut


def picture(pixels: np.ndarray) -> Input:
    return given(UpperBodyDetection, {"image": jpeg(pixels)})


def moved(right: int, down: int = 0) -> np.ndarray:
    return cv2.warpAffine(astronaut(), np.array([[1.0, 0, right], [0, 1.0, down]]), (512, 512), borderMode=cv2.BORDER_REPLICATE)


def inside(roi: list[int], point: tuple[float, float]) -> bool:
    return roi[0] <= point[0] <= roi[0] + roi[2] and roi[1] <= point[1] <= roi[1] + roi[3]


# The network: the same values as a slow computation written from its description alone.


def straightforward(image: np.ndarray, min_score: float, side: int = 640) -> list[list[tuple[float, list[float]]]]:
    """(score, box) of the bodies, heads and hands of a picture whose longer side is ``side``, cell by cell."""
    assert max(image.shape[:2]) == side
    rows, columns = (-(-length // 32) * 32 for length in image.shape[:2])
    padded = cv2.copyMakeBorder(image, 0, rows - image.shape[0], 0, columns - image.shape[1], cv2.BORDER_CONSTANT, value=(114,) * 3)
    out = network(people.MODEL).run({"input": cv2.dnn.blobFromImage(padded)})["output"][0]
    found: list[list[tuple[float, list[float]]]] = [[], [], []]
    index = 0
    for s in (8, 16, 32):
        for y in range(rows // s):
            for x in range(columns // s):
                dx, dy, dw, dh, objectness, *classes = out[index].astype(float)
                w, h = float(np.exp(dw)) * s, float(np.exp(dh)) * s
                for kind in range(3):
                    if objectness * classes[kind] >= min_score:
                        found[kind].append((objectness * classes[kind], [(x + dx) * s - w / 2, (y + dy) * s - h / 2, w, h]))
                index += 1
    assert index == len(out)
    for kind, boxes in enumerate(found):
        kept: list[tuple[float, list[float]]] = []
        for score, box in sorted(boxes, reverse=True):
            if all(intersection_over_union(np.array([box]), np.array([other]))[0, 0] <= 0.45 for _, other in kept):
                kept.append((score, box))
        found[kind] = kept
    return found


def photograph(width: int, height: int) -> np.ndarray:
    """Two of the same person, one smaller, beside each other."""
    canvas = np.full((height, width, 3), 120, np.uint8)
    large, small = cv2.resize(astronaut(), (330, 330)), cv2.resize(astronaut(), (200, 200))
    canvas[height - 330 :, :330] = large
    canvas[height - 200 :, 400:600] = small[:, : width - 400]
    return canvas


@pytest.mark.parametrize("size", [(640, 480), (640, 427)])
@pytest.mark.parametrize("min_score", [0.4, 0.15])
def test_the_same_values_as_a_straightforward_computation(size: tuple[int, int], min_score: float) -> None:
    image = photograph(*size)
    expected = straightforward(image, min_score)
    (seen,) = yolox.look(network(people.MODEL), [image], people.MIN_SIDE, people.SIDE, min_score)
    assert [len(kind) for kind in seen] == [len(kind) for kind in expected]
    assert len(seen[people.BODY]) >= 2
    assert len(seen[people.HEAD]) >= 2
    for kind, reference in zip(seen, expected, strict=True):
        assert np.allclose(kind.scores, [score for score, _ in reference], atol=1e-5)
        assert np.allclose(kind.boxes, np.array([box for _, box in reference]).reshape(-1, 4), atol=1e-2)


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.0])
def test_results_are_in_pixels_of_the_picture(scale: float) -> None:
    (reference,) = people.detect(network(people.MODEL), [astronaut()])
    (found,) = people.detect(network(people.MODEL), [cv2.resize(astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)])
    assert len(found.heads) == len(reference.heads) == 1
    assert intersection_over_union(found.heads.boxes / scale, reference.heads.boxes)[0, 0] > 0.8
    assert intersection_over_union(found.bodies.boxes / scale, reference.bodies.boxes)[0, 0] > 0.8


def test_dark_pictures_are_stretched() -> None:
    noise = np.random.default_rng(1).normal(0, 1, astronaut().shape)
    dark = np.clip(astronaut() * 0.15 + noise, 0, 255).astype(np.uint8)
    (found,) = people.detect(network(people.MODEL), [dark])
    assert len(persons(found)) == 1
    bright = yolox.stretch(dark)
    assert 200 < np.percentile(bright, 99.5) <= 255
    assert yolox.stretch(astronaut()) is astronaut()
    black = np.zeros((64, 64, 3), np.uint8)
    assert yolox.stretch(black).max() == 0


def test_heads_are_tied_to_the_bodies_they_sit_on() -> None:
    bodies = np.array([[100, 100, 100, 300], [150, 180, 100, 220]], np.float32)  # one behind, one before it to the right
    heads = np.array([[180, 182, 40, 50], [130, 102, 40, 50], [400, 100, 40, 50]], np.float32)
    assert tie(heads, bodies).tolist() == [1, 0, -1]
    assert tie(heads[:1], bodies[:1]).tolist() == [0], "inside, and not far from the top"
    assert tie(np.array([[130, 300, 40, 50]], np.float32), bodies[:1]).tolist() == [-1], "at the knees"
    assert tie(heads, np.empty((0, 4))).tolist() == [-1, -1, -1]
    twins = np.array([[110, 102, 40, 50], [150, 104, 40, 50]], np.float32)
    assert sorted(tie(twins, bodies[:1]).tolist()) == [-1, 0], "two heads do not share a body"


def boxes(*rows: tuple[float, ...]) -> Boxes:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Boxes(table[:, :4], table[:, 4])


class Played:
    """A network whose outputs are boxes, (kind, score, x, y, width, height) in pixels of each run's canvas."""

    def __init__(self, *runs: list[list[tuple[int, float, float, float, float, float]]]) -> None:
        self.runs = list(runs)
        self.shapes: list[tuple[int, ...]] = []

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        shape = feeds["input"].shape
        self.shapes.append(shape)
        columns = shape[3] // 32
        coarse = (shape[2] // 8) * (shape[3] // 8) + (shape[2] // 16) * (shape[3] // 16)
        output = np.zeros((shape[0], coarse + (shape[2] // 32) * columns, 8), np.float32)
        for cells, things in zip(output, self.runs.pop(0), strict=True):
            for number, (kind, score, x, y, width, height) in enumerate(things):
                cell = cells[coarse + number]
                cell[:5] = (x + width / 2) / 32 - number, (y + height / 2) / 32, np.log(width / 32), np.log(height / 32), score
                cell[5 + kind] = 1
        return {"output": output}


def test_a_body_without_a_head_is_looked_at_again() -> None:
    """Both looks together decide, and the score is that of both."""
    alone = [(people.BODY, 0.8, 200.0, 100.0, 128.0, 256.0)]
    window = (128 * 1.5, 256 * 1.5)  # with a border of a quarter on each side; 192 pixels long on the second canvas
    scale = 192 / window[1]
    again = [(people.BODY, 0.5, 32 * scale, 64 * scale, 128 * scale, 256 * scale)]
    image = np.zeros((480, 640, 3), np.uint8)
    confirmed = Played([alone], [again])
    (found,) = people.detect(confirmed, [image])
    assert confirmed.shapes == [(1, 3, 480, 640), (1, 3, 192, 96)]
    assert np.allclose(found.bodies.boxes, [[200, 100, 128, 256]], atol=0.1)
    assert np.allclose(found.bodies.scores, [np.sqrt(0.8 * 0.5)], atol=1e-3)
    assert persons(found) == [Person(0, None, pytest.approx(np.sqrt(0.4), abs=1e-3))]
    for second in ([], [(people.BODY, 0.25, 32 * scale, 64 * scale, 128 * scale, 256 * scale)], [(people.BODY, 0.9, 0.0, 0.0, 20.0, 20.0)]):
        (found,) = people.detect(Played([alone], [second]), [image])
        assert len(found.bodies) == 0
        assert persons(found) == []


def test_nothing_is_looked_at_again_without_doubt() -> None:
    whole = [(people.BODY, 0.8, 200.0, 100.0, 128.0, 256.0), (people.HEAD, 0.7, 240.0, 102.0, 48.0, 60.0)]
    once = Played([whole])
    (found,) = people.detect(once, [np.zeros((480, 640, 3), np.uint8)])
    assert found.body_of_head.tolist() == [0]
    assert [(person.body, person.head) for person in persons(found)] == [(0, 0)]


def test_second_looks_of_all_pictures_are_one_run() -> None:
    alone = [(people.BODY, 0.8, 200.0, 100.0, 128.0, 256.0)]
    played = Played([alone, alone, alone], [[], [], []])
    assert [len(found.bodies) for found in people.detect(played, [np.zeros((480, 640, 3), np.uint8)] * 3)] == [0, 0, 0]
    assert played.shapes == [(3, 3, 480, 640), (3, 3, 192, 96)]


def test_a_body_without_a_head_inside_another_is_a_part_of_it() -> None:
    whole = [(people.BODY, 0.8, 200.0, 100.0, 128.0, 256.0), (people.HEAD, 0.7, 240.0, 102.0, 48.0, 60.0)]
    for x, count in ((250.0, 1), (320.0, 2)):
        part = (people.BODY, 0.7, x, 150.0, 64.0, 128.0)
        again = (people.BODY, 0.9, 16.0, 32.0, 64.0, 128.0)  # the window is 96 x 192 already
        (found,) = people.detect(Played([[*whole, part]], [[again]]), [np.zeros((480, 640, 3), np.uint8)])
        assert len(persons(found)) == count


def test_second_looks_are_limited() -> None:
    crowd = [(people.BODY, 0.8, 40.0 * number, 100.0, 30.0, 60.0) for number in range(16)]
    crowd += [(people.HEAD, 0.6, 40.0 * number, 300.0, 20.0, 30.0) for number in range(4)]
    played = Played([crowd], [[]] * 16)
    (found,) = people.detect(played, [np.zeros((480, 640, 3), np.uint8)])
    assert persons(found) == []


def test_broken_numbers_overflow_nowhere() -> None:
    cells = np.full((84, 8), 1e9, np.float32)
    with np.errstate(over="raise", invalid="raise"):
        yolox.decode(cells, (64, 64), 0.4)


def test_probability_rises_with_the_score() -> None:
    chances = people.probability(np.linspace(0, 1, 50))
    assert np.all(np.diff(chances) > 0)
    assert people.probability(np.array([0.9]))[0] > 0.95 > 0.6 > people.probability(np.array([people.MIN_SCORE]))[0]


# The upper body.


def test_from_the_head_to_the_hips() -> None:
    found = People(
        boxes((100, 50, 120, 400, 0.9), (400, 60, 200, 220, 0.8), (500, 10, 60, 300, 0.5)),
        boxes((140, 52, 40, 50, 0.7), (480, 62, 60, 80, 0.85), (20, 20, 30, 40, 0.6)),
        boxes(),
        np.array([0, 1, -1]),
    )
    rois, scores = upper_bodies(found)
    assert scores.tolist() == pytest.approx([0.9, 0.85, 0.6, 0.5])
    expected = [
        [100, 52, 120, 160],  # 3.2 heads down; the body is narrower than 1.9 heads aside
        [400, 62, 200, 218],  # ends where the body ends
        [35 - 36, 20, 72, 120],  # a head alone
        [500, 10, 60, 165],  # a body alone: its upper part
    ]
    assert np.allclose(rois, expected, atol=0.1)


def test_the_person_of_a_photograph() -> None:
    result = answer(loaded(UpperBodyDetection), picture(astronaut()))
    assert result["input_size"] == [512, 512]
    assert result["nb_upper_bodies"] == 1
    (body,) = result["upper_bodies"]
    assert sorted(body) == ["upper_body_roi", "upper_body_roi_confidence"]
    assert inside(body["upper_body_roi"], HEAD)
    assert inside(body["upper_body_roi"], (224, 300)), "the chest"
    assert 0.9 < body["upper_body_roi_confidence"] <= 1


def test_a_person_whose_head_is_out_of_the_picture() -> None:
    result = answer(loaded(UpperBodyDetection), picture(np.ascontiguousarray(astronaut()[190:])))
    assert result["nb_upper_bodies"] == 1


@pytest.mark.parametrize("name", ["coffee", "cat", "rocket"])
def test_pictures_without_people(name: str) -> None:
    from skimage import data

    pixels = np.ascontiguousarray(getattr(data, name)()[:, :, 2::-1])
    height, width = pixels.shape[:2]
    assert answer(loaded(UpperBodyDetection), picture(pixels)) == {"input_size": [width, height], "nb_upper_bodies": 0, "upper_bodies": []}


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (31, 33), (3000, 20)])
def test_odd_sizes_have_no_people_and_no_errors(size: tuple[int, int]) -> None:
    result = answer(loaded(UpperBodyDetection), given(UpperBodyDetection, {"image": png(np.full((*size, 3), 90, np.uint8))}))
    assert result["nb_upper_bodies"] == 0


def test_boxes_stay_inside_the_picture() -> None:
    for cut in (astronaut()[:, 200:], astronaut()[80:, :260], astronaut()[:240]):
        for x, y, width, height in (
            body["upper_body_roi"] for body in answer(loaded(UpperBodyDetection), picture(np.ascontiguousarray(cut)))["upper_bodies"]
        ):
            assert 0 <= x < x + width <= cut.shape[1]
            assert 0 <= y < y + height <= cut.shape[0]


def test_a_batch_answers_as_its_items_do() -> None:
    service = loaded(UpperBodyDetection)
    headless = np.ascontiguousarray(astronaut()[190:])
    inputs = [picture(astronaut()), picture(np.zeros((60, 80, 3), np.uint8)), picture(headless), picture(moved(40)), picture(headless)]
    together = [output.as_result() for output in service.process([Item(value) for value in inputs])]
    for result, value in zip(together, inputs, strict=True):
        alone = answer(service, value)
        assert result["nb_upper_bodies"] == alone["nb_upper_bodies"]
        for one, other in zip(result["upper_bodies"], alone["upper_bodies"], strict=True):
            assert np.allclose(one["upper_body_roi"], other["upper_body_roi"], atol=1)
            assert one["upper_body_roi_confidence"] == pytest.approx(other["upper_body_roi_confidence"], abs=0.01)


def test_with_a_session_a_person_is_reported_from_the_fourth_frame_on() -> None:
    session = Session(loaded(UpperBodyDetection))
    results = [session.frame(picture(moved(8 * step))) for step in range(6)]
    assert [result["nb_upper_bodies"] for result in results] == [0, 0, 0, 1, 1, 1]
    assert {body["id"] for result in results for body in result["upper_bodies"]} == {1}
    assert inside(results[-1]["upper_bodies"][0]["upper_body_roi"], (HEAD[0] + 40, HEAD[1]))


def test_not_a_picture() -> None:
    with pytest.raises(UnreadableInput, match="JPEG or PNG"):
        given(UpperBodyDetection, {"image": b"GIF89a..."}).image.decode()  # type: ignore[attr-defined]


def test_the_example_has_a_person() -> None:
    assert answer(loaded(UpperBodyDetection), UpperBodyDetection.example())["nb_upper_bodies"] == 1


def test_labelled_people() -> None:
    """Of clips every tenth frame."""
    folder, rows = labelled("upper_body_detection")
    service = loaded(UpperBodyDetection)
    exact: list[bool] = []
    found: list[bool] = []
    for name, here in by_file(rows):
        people_here = int(here[0]["n_persons"])
        clip = name.endswith(".mkv")
        for data in every_tenth(str(folder / name)) if clip else [(folder / name).read_bytes()]:
            rois = [body["upper_body_roi"] for body in answer(service, given(UpperBodyDetection, {"image": data}))["upper_bodies"]]
            exact.append(len(rois) == people_here)
            if here[0]["x"]:
                found += [any(is_person(roi, row) for roi in rois) for row in here]
    assert (len(found), len(exact)) == (14, 40)
    assert sum(found) >= 13
    assert sum(exact) >= 38


def every_tenth(path: str) -> list[bytes]:
    video, found = cv2.VideoCapture(path), []
    while (read := video.read())[0]:
        found.append(read[1])
    return [jpeg(pixels) for pixels in found[::10]]


def is_person(roi: list[int], row: dict[str, str]) -> bool:
    """Four fifths of the key points' hull are in the roi; of the half-hidden, without a hull, the boxes overlap."""
    if not row["ub_x"]:
        person = np.array([[float(row[key]) for key in "xywh"]])
        return bool(intersection_over_union(np.array([roi]), person)[0, 0] >= 0.4)
    x, y, width, height = (float(row["ub_" + key]) for key in "xywh")
    across = min(x + width, roi[0] + roi[2]) - max(x, roi[0])
    down = min(y + height, roi[1] + roi[3]) - max(y, roi[1])
    return max(across, 0) * max(down, 0) >= 0.8 * width * height
