"""Which network tells faces apart, and that what one made of a face never meets what another made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import workers.services.face_recognition as module
from models.manifest import DEFAULT_DIRECTORY
from tests.services.albums import Blobs, CountingModels, confidences, job, somebody_else, two_people
from tests.services.helpers import Session, all_models, answer, astronaut, jpeg, network
from workers.inference.onnx import OnnxModels
from workers.models import dlib_face, face_embedding
from workers.models.face_detector import FaceDetector, open_face_detector
from workers.models.face_embedder import open_face_embedder
from workers.models.weights import digest
from workers.services.face_recognition import FaceRecognition


def both() -> tuple[OnnxModels, OnnxModels]:
    """Models of which the preferred network tells faces apart, and of which dlib's does; skips where one is missing."""
    network(face_embedding.MODEL)
    network(dlib_face.MODEL)
    return all_models(), OnnxModels(Path(os.environ.get("SENSORIUM_MODELS_DIR") or DEFAULT_DIRECTORY), prefer=[dlib_face.MODEL])


def loaded(models: Any) -> FaceRecognition:
    service = FaceRecognition()
    service.load(models)
    return service


def test_the_room_of_the_network_answers() -> None:
    preferred, stand_in = (open_face_embedder(models) for models in both())
    assert (preferred.name, preferred.dimensions) == (face_embedding.MODEL, 256)
    assert (stand_in.name, stand_in.dimensions) == (dlib_face.MODEL, 128)
    assert stand_in.sha256 == network(dlib_face.MODEL).sha256 != preferred.sha256
    assert stand_in.calibration == dlib_face.CALIBRATION != preferred.calibration


def test_the_stand_in_recognises_and_refuses() -> None:
    service = loaded(both()[1])
    result = answer(service, two_people(astronaut()))
    assert [name["key"] for name in result["faces"][0]["names"]] == ["eileen", "drawn"]
    assert result["faces"][0]["names"][0]["confidence"] > 0.9
    assert result["faces"][0]["names"][1]["confidence"] < 0.1
    stranger = answer(service, job(somebody_else(), {"eileen": ["attachment://a"]}, a=astronaut()))
    assert confidences(stranger)["eileen"] < 0.2


def test_a_service_that_is_given_other_networks_reads_its_album_again() -> None:
    preferred, stand_in = both()
    service, blobs = loaded(preferred), Blobs(a=jpeg(astronaut()), b=jpeg(somebody_else()))
    first = confidences(answer(service, blobs.job("a", "b")))
    service.load(stand_in)
    assert confidences(answer(service, blobs.job("a", "b"))) == confidences(answer(loaded(stand_in), blobs.job("a", "b")))
    read = blobs.read
    service.load(preferred)
    assert confidences(answer(service, blobs.job("a", "b"))) == first
    assert blobs.read == read  # what the first network made of the samples is still there


def test_samples_are_kept_by_detector_and_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The points of another detector place the same face otherwise."""

    class Another:
        sha256 = "0" * 64

        def __init__(self, detector: FaceDetector) -> None:
            self.detector = detector

        def __getattr__(self, name: str) -> Any:
            return getattr(self.detector, name)

    models = CountingModels()
    service = loaded(models)
    embedder = models.opened[open_face_embedder(models).name]
    answer(service, two_people(astronaut()))
    before = embedder.items
    monkeypatch.setattr(module, "open_face_detector", lambda opened: Another(open_face_detector(opened)))
    service.load(models)
    answer(service, two_people(astronaut()))
    assert embedder.items == before + 8  # three samples and one face, each with its mirror image


def test_a_session_that_comes_to_a_worker_with_another_network_begins_its_scores_again() -> None:
    """dlib's scores are all close to 1: carried over, they would make everybody known to the other network."""
    preferred, stand_in = (loaded(models) for models in both())
    stranger = job(somebody_else(), {"eileen": ["attachment://a"]}, a=astronaut())
    session = Session(stand_in)
    for _ in range(4):
        session.frame(stranger)
    session.service = preferred
    assert confidences(session.frame(stranger)) == pytest.approx(confidences(answer(preferred, stranger)), abs=0.01)
    session.service = stand_in
    assert confidences(session.frame(stranger)) == pytest.approx(confidences(answer(stand_in, stranger)), abs=0.01)


def test_the_digest_stands_for_both_networks() -> None:
    detector, embedder = network("yunet"), network(face_embedding.MODEL)
    assert digest((detector,)) == detector.sha256
    assert len({digest((detector, embedder)), digest((embedder, detector)), digest((detector,)), digest((embedder,))}) == 4
