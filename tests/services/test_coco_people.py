"""People found by YOLOX-nano of COCO, whose heads are those of faces."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from models.manifest import load_manifest
from tests.services.helpers import all_models, answer, astronaut, given, jpeg, loaded, network
from workers.contract import Item
from workers.inference.onnx import OnnxModels
from workers.lib.faces import Faces
from workers.lib.people import Person, persons
from workers.models import coco_people, people, person_reid
from workers.models.people_detector import open_people_detector
from workers.services.scene_analysis import SceneAnalysis, SceneAnalysisState
from workers.services.upper_body_detection import UpperBodyDetection

NO_FACES = Faces(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32), np.empty(0))
HEAD = (224, 120)  # of the astronaut


def faces(*rows: tuple[float, float, float, float, float]) -> Faces:
    """x, y, width, height in pixels, and the probability."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Faces(table[:, :4], table[:, 4], np.zeros((len(table), 5, 2), np.float32), table[:, 4].astype(np.float64))


class Played:
    """A network whose output are bodies (score, x, y, width, height), in pixels of a canvas of 640 x 480, in cells of stride 32."""

    def __init__(self, *bodies: tuple[float, float, float, float, float]) -> None:
        self.bodies = bodies

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert feeds["input"].shape == (1, 3, 480, 640)
        output = np.zeros((1, 80 * 60 + 40 * 30 + 20 * 15, 6), np.float32)
        for number, (score, x, y, width, height) in enumerate(self.bodies):
            row, column = divmod(number, 20)
            cell = output[0, 80 * 60 + 40 * 30 + number]
            cell[:2] = (x + width / 2) / 32 - column, (y + height / 2) / 32 - row
            cell[2:] = np.log(width / 32), np.log(height / 32), score, 1
        return {"output": output}


def detect(network: Played, seen: Faces) -> Any:
    (found,) = coco_people.detect(network, [np.zeros((480, 640, 3), np.uint8)], [seen])
    return found


def test_the_same_values_as_an_independent_computation() -> None:
    """OpenCV's engine on the same file, and the decoding written from its description, cell by cell."""
    model = load_manifest().get(coco_people.MODEL)
    network(coco_people.MODEL)
    image = cv2.resize(astronaut(), (640, 640))[:480]
    padded = cv2.copyMakeBorder(image, 0, 0, 0, 0, cv2.BORDER_CONSTANT)
    engine = cv2.dnn.readNetFromONNX(str(all_models().path(model.name)))
    engine.setInput(cv2.dnn.blobFromImage(padded), "input")
    cells = engine.forward().reshape(-1, 6).astype(float)
    expected: list[tuple[float, list[float]]] = []
    index = 0
    for s in (8, 16, 32):
        for y in range(480 // s):
            for x in range(640 // s):
                dx, dy, dw, dh, objectness, person = cells[index]
                index += 1
                w, h = np.exp(dw) * s, np.exp(dh) * s
                if objectness * person >= 0.3:
                    expected.append((objectness * person, [(x + dx) * s - w / 2, (y + dy) * s - h / 2, w, h]))
    assert index == len(cells)
    score, box = max(expected)
    (found,) = coco_people.detect(network(coco_people.MODEL), [image], [NO_FACES])
    assert len(found.bodies) == 1
    assert found.bodies.scores[0] == pytest.approx(coco_people.probability(np.array(score)), abs=1e-3)
    assert np.allclose(found.bodies.boxes[0], box, atol=0.5)


def test_a_face_gives_the_body_its_head() -> None:
    found = detect(Played((0.8, 200, 100, 160, 320)), faces((260, 120, 40, 50, 0.9)))
    assert persons(found) == [Person(0, 0, pytest.approx(float(coco_people.probability(np.array(0.8)))))]
    x, y, width, height = found.heads.boxes[0]
    assert (x + width / 2, width, height) == pytest.approx((280, 68, 76.5), abs=0.01)
    assert y + height / 2 == pytest.approx(145 - 7.5, abs=0.01)
    assert len(found.hands) == 0


@pytest.mark.parametrize(("chance", "count"), [(0.85, 1), (0.75, 0)])
def test_a_face_without_a_body_is_somebody_if_it_is_certain(chance: float, count: int) -> None:
    assert len(persons(detect(Played(), faces((260, 120, 40, 50, chance))))) == count


def test_a_doubtful_face_on_a_body_is_its_head() -> None:
    found = detect(Played((0.8, 200, 100, 160, 320)), faces((260, 120, 40, 50, 0.5)))
    assert found.body_of_head.tolist() == [0]


def test_the_least_score_is_the_network_s_own_unless_less_is_asked_for() -> None:
    weak = Played((0.27, 200, 100, 160, 320))
    assert persons(detect(weak, NO_FACES)) == []
    (found,) = coco_people.detect(weak, [np.zeros((480, 640, 3), np.uint8)], [NO_FACES], min_score=0.25)
    assert len(persons(found)) == 1


def test_broken_values_give_no_errors() -> None:
    broken = Played((0.9, 200, 100, 1e30, 320))
    (body,) = detect(broken, NO_FACES).bodies.boxes
    assert np.isfinite(body).all()


def test_probabilities_rise_with_the_score() -> None:
    chances = coco_people.probability(np.linspace(0, 1, 50))
    assert (np.diff(chances) > 0).all()
    assert coco_people.probability(np.array([0.8]))[0] > 0.95 > 0.55 > coco_people.probability(np.array([coco_people.MIN_SCORE]))[0]


# Services, as a machine has them that reaches package registries alone


def test_what_stands_in_is_opened(stand_ins: OnnxModels) -> None:
    detector = open_people_detector(stand_ins)
    assert (detector.name, detector.needs_faces) == (coco_people.MODEL, True)
    assert stand_ins.optional(person_reid.MODEL) is None


def test_the_preferred_one_is_opened_where_it_is_installed() -> None:
    network(people.MODEL)
    detector = open_people_detector(all_models())
    assert (detector.name, detector.needs_faces) == (people.MODEL, False)


def upper_bodies(stand_ins: OnnxModels, pixels: np.ndarray) -> list[dict[str, Any]]:
    value = given(UpperBodyDetection, {"image": jpeg(np.ascontiguousarray(pixels))})
    found: list[dict[str, Any]] = answer(loaded(UpperBodyDetection, stand_ins), value)["upper_bodies"]
    return found


def test_one_person_is_one_upper_body(stand_ins: OnnxModels) -> None:
    (body,) = upper_bodies(stand_ins, astronaut())
    x, y, width, height = body["upper_body_roi"]
    assert x <= HEAD[0] <= x + width
    assert y <= HEAD[1] <= y + height
    assert y <= 300 <= y + height, "the chest"
    assert body["upper_body_roi_confidence"] > 0.9


def test_a_person_whose_head_is_out_of_the_picture(stand_ins: OnnxModels) -> None:
    assert len(upper_bodies(stand_ins, astronaut()[190:])) == 1


def test_a_dark_picture_has_its_person(stand_ins: OnnxModels) -> None:
    noise = np.random.default_rng(1).normal(0, 1, astronaut().shape)
    assert len(upper_bodies(stand_ins, np.clip(astronaut() * 0.15 + noise, 0, 255).astype(np.uint8))) == 1


@pytest.mark.parametrize("name", ["coffee", "cat", "rocket"])
def test_pictures_without_people(name: str, stand_ins: OnnxModels) -> None:
    from skimage import data

    assert upper_bodies(stand_ins, getattr(data, name)()[:, :, 2::-1]) == []


def test_the_examples_have_a_person(stand_ins: OnnxModels) -> None:
    assert answer(loaded(UpperBodyDetection, stand_ins), UpperBodyDetection.example())["nb_upper_bodies"] == 1
    assert len(answer(loaded(SceneAnalysis, stand_ins), SceneAnalysis.example())["entities"]) == 1


def test_a_session_never_compares_what_two_sets_of_networks_saw(stand_ins: OnnxModels) -> None:
    """Workers of both sets take turns, as in an upgrade: one person stays one, and codes are those of the network that is there."""
    network(person_reid.MODEL)
    whole, registries = loaded(SceneAnalysis), loaded(SceneAnalysis, stand_ins)
    value = given(SceneAnalysis, {"image": jpeg(astronaut())})
    state, looked, ids = SceneAnalysisState(), [], set()
    for number in range(32):
        service = registries if 12 <= number < 20 else whole
        (output,) = service.process([Item(value, state, accepted=1.7e9 + number / 5)])
        state = SceneAnalysisState.model_validate_json(state.model_dump_json())
        (track,) = state.following.tracks
        looked.append((bool(track.looks), state.following.looks_by))
        ids |= set(output.entities)
    digest = network(person_reid.MODEL).sha256
    assert (True, digest) in looked[:12]
    assert set(looked[12:20]) == {(False, "")}
    assert looked[-1] == (True, digest)
    assert len(ids) == 1
