"""The services of faces as a machine has them that reaches package registries alone."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.manifest import DEFAULT_DIRECTORY
from tests.services.helpers import Session, all_models, answer, astronaut, given, jpeg, loaded, network
from workers.contract import Image, Item, Service
from workers.faces import FaceInput
from workers.inference.onnx import OnnxModels
from workers.models import centerface, facemesh, yunet
from workers.models.directions import open_directions
from workers.models.face_detector import open_face_detector
from workers.models.weights import digest
from workers.services.age_and_gender_estimation import AgeAndGenderEstimation
from workers.services.face_detection import FaceDetection
from workers.services.face_expression_estimation import FaceExpressionEstimation
from workers.services.gaze_analysis import GazeAnalysis
from workers.services.scene_analysis import SceneAnalysis

START = datetime(2026, 1, 1, tzinfo=UTC)
SERVICES: list[type[Service[Any, Any]]] = [FaceDetection, AgeAndGenderEstimation, FaceExpressionEstimation, GazeAnalysis]


def only(service: Service[Any, Any], pixels: np.ndarray) -> dict[str, Any]:
    (face,) = answer(service, given(type(service), {"image": jpeg(pixels)}))["faces"]
    return dict(face)


def test_what_stands_in_is_opened(stand_ins: OnnxModels) -> None:
    detector, directions = open_face_detector(stand_ins), open_directions(stand_ins)
    both = stand_ins.open(centerface.MODEL), stand_ins.open(facemesh.MODEL)
    assert (detector.name, detector.sha256) == (centerface.MODEL, digest(both))
    assert (directions.sha256, directions.gaze_certainty) == (both[1].sha256, facemesh.CERTAINTY)


def test_the_preferred_ones_are_opened_where_they_are_installed() -> None:
    everything = network(yunet.MODEL), network("fsanet-1x1"), network("fsanet-var"), network("gaze-estimation-adas-0002")
    models = all_models()
    assert open_face_detector(models).sha256 == everything[0].sha256
    directions = open_directions(models)
    assert (directions.sha256, directions.gaze_certainty) == (digest(everything[1:]), 1.0)


def test_a_stand_in_can_be_preferred() -> None:
    """For faces, while heads and eyes are still measured by the networks that were made for it."""
    for name in (yunet.MODEL, "fsanet-1x1", "fsanet-var", "gaze-estimation-adas-0002", centerface.MODEL, facemesh.MODEL):
        network(name)
    models = OnnxModels(Path(os.environ.get("SENSORIUM_MODELS_DIR") or DEFAULT_DIRECTORY), prefer=[centerface.MODEL])
    assert open_face_detector(models).name == centerface.MODEL
    assert open_directions(models).gaze_certainty == 1.0


def test_a_face_and_all_that_is_said_of_it(stand_ins: OnnxModels) -> None:
    said: dict[str, Any] = {}
    for kind in SERVICES:
        said |= only(loaded(kind, stand_ins), astronaut())
    x, y, width, height = said["roi"]
    assert x < 224 < x + width
    assert y < 125 < y + height
    assert said["roi_confidence"] > 0.95
    assert 25 < said["age"] < 55
    assert said["gender"] == "female"
    assert said["happiness"] > 0.8
    assert np.allclose([said["eye_left"], said["eye_right"], said["nose"]], [(205, 104), (247, 105), (225, 127)], atol=8)
    assert all(abs(said[angle]) < 0.26 for angle in ("head_yaw", "head_pitch", "head_roll", "gaze_yaw", "gaze_pitch"))
    assert said["gaze_confidence"] == pytest.approx(facemesh.CERTAINTY * said["roi_confidence"], abs=1e-3)


def test_nothing_is_found_in_noise(stand_ins: OnnxModels) -> None:
    noise = np.random.default_rng(4).integers(0, 255, (300, 400, 3), np.uint8)
    assert answer(loaded(FaceDetection, stand_ins), given(FaceDetection, {"image": jpeg(noise)}))["nb_faces"] == 0


def test_pictures_together_give_what_they_give_alone(stand_ins: OnnxModels) -> None:
    service = loaded(GazeAnalysis, stand_ins)
    crowd = np.tile(astronaut()[40:200, 145:305], (2, 3, 1))
    pictures = [astronaut(), np.zeros((64, 64, 3), np.uint8), crowd, np.ascontiguousarray(astronaut()[:, ::-1])]
    together = service.process([Item(FaceInput(image=Image(jpeg(pixels)))) for pixels in pictures])
    for pixels, output in zip(pictures, together, strict=True):
        alone = answer(service, given(GazeAnalysis, {"image": jpeg(pixels)}))
        assert output.as_result()["nb_faces"] == alone["nb_faces"]
        for one, other in zip(output.as_result()["faces"], alone["faces"], strict=True):
            assert one["roi"] == pytest.approx(other["roi"], abs=1)
            assert one["head_yaw"] == pytest.approx(other["head_yaw"], abs=0.03)
    assert together[2].as_result()["nb_faces"] == 6


@pytest.mark.parametrize("kind", [AgeAndGenderEstimation, GazeAnalysis])
def test_a_session_does_not_mix_what_two_sets_of_networks_measured(kind: type[Service[Any, Any]], stand_ins: OnnxModels) -> None:
    """Workers of both sets take turns, as in an upgrade: faces keep their ids, and smoothing starts anew."""
    network(yunet.MODEL)
    session = Session(loaded(kind))
    value = given(kind, {"image": jpeg(astronaut())})
    for service in (loaded(kind), loaded(kind, stand_ins)) * 3:
        session.service = service
        result = session.frame(value)
        (known,) = json.loads(session.stored)["measured"].values()
        assert known["count"] == 1
    session.frame(value)
    (known,) = json.loads(session.stored)["measured"].values()
    assert known["count"] == 2
    (face,) = result["faces"]
    assert face["id"] == 1


def test_a_scene_goes_on_while_its_estimates_start_again(stand_ins: OnnxModels) -> None:
    """The same person, who is told of once, by workers of two sets; how old she is both measure for themselves."""
    network(yunet.MODEL)
    session = Session(loaded(SceneAnalysis))
    appeared, entities, measured = [], set(), []
    for number in range(24):
        if number % 12 == 0:
            session.service = loaded(SceneAnalysis, stand_ins) if number else loaded(SceneAnalysis)
        stamp = (START + timedelta(seconds=number / 10)).isoformat()
        result = session.frame(given(SceneAnalysis, {"image": jpeg(astronaut())}, timestamp=stamp))
        appeared += [event["entity_id"] for event in result["events"] if event["type"] == "appearance"]
        entities |= result["entities"].keys()
        (person,) = json.loads(session.stored)["people"].values()
        measured.append(person["demography"]["count"])
    assert entities == set(appeared)
    assert len(appeared) == 1
    assert measured[11] > measured[12] == 1
    (entity,) = result["entities"].values()
    assert entity["gaze_confidence"] == pytest.approx(facemesh.CERTAINTY * entity["face_confidence"], abs=1e-3)
