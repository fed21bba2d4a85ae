"""Faces are found once per picture, and a crowd is measured a group at a time."""

from __future__ import annotations

import gc
from typing import Any

import cv2
import numpy as np
import pytest

from tests.services.helpers import all_models, astronaut, chosen, jpeg, network
from workers import faces
from workers.contract import Image, Item, Network, Service
from workers.faces import FaceInput, detect_faces
from workers.inference.onnx import OnnxModels
from workers.models import centerface, facemesh, yunet
from workers.models.face_detector import YuNetDetector, open_face_detector
from workers.services.age_and_gender_estimation import AgeAndGenderEstimation
from workers.services.face_detection import FaceDetection
from workers.services.face_expression_estimation import FaceExpressionEstimation
from workers.services.gaze_analysis import GazeAnalysis

SERVICES: tuple[type[Service[Any, Any]], ...] = (FaceDetection, AgeAndGenderEstimation, FaceExpressionEstimation, GazeAnalysis)


class Watched:
    """A network that writes down how many rows it was given at a time."""

    def __init__(self, name: str, device: str) -> None:
        self._network = network(name)
        self.name, self.sha256, self.device = name, "watched", device
        self.rows: list[int] = []

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.rows.append(len(next(iter(feeds.values()))))
        return self._network.run(feeds)


class WatchedModels:
    """All models that are installed, or those of ``models``."""

    def __init__(self, device: str = "cpu", models: OnnxModels | None = None) -> None:
        self.device = device
        self.models = models or all_models()
        self.opened: dict[str, Watched] = {}

    def open(self, name: str) -> Network:
        return self.opened.setdefault(name, Watched(name, self.device))

    def choose(self, name: str) -> Network:
        return self.open(self.models.choose(name).name)

    def optional(self, name: str) -> Network | None:
        return None if self.models.optional(name) is None else self.open(name)


def started(models: WatchedModels) -> list[Service[Any, Any]]:
    services = [service() for service in SERVICES]
    for service in services:
        service.load(models)
    return services


def crowd() -> np.ndarray:
    """uint8 [600, 640, 3]: fifty-six times the same face, twice as large as they must be to be seen."""
    face = cv2.resize(astronaut()[40:200, 145:305], (80, 80), interpolation=cv2.INTER_AREA)
    return np.tile(face, (7, 8, 1))


def test_several_services_look_for_the_faces_of_a_picture_once() -> None:
    models = WatchedModels()
    image = Image(jpeg(astronaut()))
    answers = [service.process([Item(FaceInput(image=image))])[0].as_result() for service in started(models)]
    assert models.opened[chosen(yunet.MODEL)].rows == [1]
    assert len({tuple(answer["faces"][0]["roi"]) for answer in answers}) == 1


def test_equal_bytes_are_not_the_same_picture() -> None:
    models = WatchedModels()
    detector = open_face_detector(models)
    first, second = Image(jpeg(astronaut())), Image(jpeg(astronaut()))
    assert [len(found) for found in detect_faces(detector, [first, second])] == [1, 1]
    assert [len(found) for found in detect_faces(detector, [second, Image(jpeg(np.zeros((64, 64, 3), np.uint8))), first])] == [1, 0, 1]
    assert models.opened[chosen(yunet.MODEL)].rows == [2, 1, 1], "only the third, and it twice, since it has no face at first sight"


def test_what_was_found_goes_with_the_picture() -> None:
    gc.collect()
    before = len(faces._found)
    image = Image(jpeg(astronaut()))
    detect_faces(YuNetDetector(network(yunet.MODEL)), [image])
    assert len(faces._found) == before + 1
    del image
    gc.collect()
    assert len(faces._found) == before


@pytest.mark.parametrize(("device", "most"), [("cpu", faces.MOST_FACES_ON_CPU), ("cuda", faces.MOST_FACES)])
def test_a_crowd_is_measured_a_group_at_a_time(device: str, most: int) -> None:
    models = WatchedModels(device)
    image = Image(jpeg(crowd()))
    for service in started(models):
        (output,) = service.process([Item(FaceInput(image=image))])
        assert output.nb_faces >= 40
    for name, watched in models.opened.items():
        if name != chosen(yunet.MODEL):
            assert max(watched.rows) <= 4 * most, name
            assert len(watched.rows) >= 40 // most, name


def test_the_mesh_of_a_face_is_made_once_for_all_services(stand_ins: OnnxModels) -> None:
    models = WatchedModels("cuda", stand_ins)
    image = Image(jpeg(astronaut()))
    for service in started(models):
        service.process([Item(FaceInput(image=image))])
    assert (models.opened[centerface.MODEL].rows, models.opened[facemesh.MODEL].rows) == ([1], [1])


@pytest.mark.models(*FaceExpressionEstimation.models, *GazeAnalysis.models)
def test_the_faces_of_all_items_go_through_a_network_together() -> None:
    models = WatchedModels("cuda")
    *_, expression, gaze = started(models)
    batch = [Item(FaceInput(image=Image(jpeg(astronaut())))) for _ in range(5)]
    expression.process(batch)
    gaze.process(batch)
    assert {name: watched.rows for name, watched in models.opened.items() if watched.rows} == {
        yunet.MODEL: [5],
        "faceapi-expression": [10],
        "emotions-recognition-retail-0003": [10],
        "fsanet-1x1": [10],
        "fsanet-var": [10],
        "gaze-estimation-adas-0002": [10],
    }
