"""Albums of face recognition: what is kept of their samples, and for how long."""

from __future__ import annotations

import pytest

import workers.services.face_recognition as module
from shared.errors import StoreAway, Unavailable
from tests.services.albums import Blobs, Counting, CountingModels, changed, confidences, job, nobody, somebody_else, two_people
from tests.services.helpers import answer, astronaut, jpeg, loaded
from workers.contract import NO_BLOB, Item
from workers.models.face_embedder import open_face_embedder
from workers.services.face_recognition import FaceRecognition


def counted() -> tuple[FaceRecognition, Counting]:
    models, service = CountingModels(), FaceRecognition()
    service.load(models)
    return service, models.opened[open_face_embedder(models).name]


def test_a_sample_costs_work_once() -> None:
    service, embedder = counted()
    answer(service, two_people(astronaut()))
    assert embedder.items == 8  # three samples and one face, each with its mirror image
    answer(service, two_people(astronaut()))
    assert embedder.items == 10
    # another album of the same pictures, under other names
    album = {"x": ["attachment://new"], "y": ["attachment://n"]}
    answer(service, job(astronaut(), album, new=changed(8, 1.2, 0.8), n=somebody_else()))
    assert embedder.items == 12


def test_a_bad_sample_costs_work_once() -> None:
    service = FaceRecognition()
    models = CountingModels()
    service.load(models)
    detector = models.opened[service._detector.name]
    first = answer(service, job(astronaut(), {"a": ["attachment://none"]}, none=nobody()))
    before = detector.items
    assert answer(service, job(astronaut(), {"a": ["attachment://none"]}, none=nobody())) == first
    assert detector.items == before + 1


def test_a_blob_is_read_once() -> None:
    service, blobs = loaded(FaceRecognition), Blobs(a=jpeg(astronaut()), b=jpeg(somebody_else()))
    for _ in range(3):
        found = confidences(answer(service, blobs.job("a", "b")))
        assert found["a"] > 0.9 > 0.2 > found["b"]
    assert blobs.read == 2


def test_a_deleted_blob_is_not_recognised_any_more_and_nothing_of_it_is_kept() -> None:
    service = FaceRecognition()
    service.load(CountingModels())
    blobs = Blobs(a=jpeg(astronaut()), b=jpeg(somebody_else()))
    answer(service, blobs.job("a", "b"))
    assert len(service._samples) == 2
    del blobs.data["a"]
    result = answer(service, blobs.job("a", "b"))
    assert confidences(result)["a"] == 0
    assert result["album_errors"] == [{"key": "a", "sample": "a", "error": NO_BLOB}]
    assert len(service._samples) == 1
    assert len(service._albums) == 1  # only that without the blob


def test_a_blob_that_goes_while_it_is_read_is_named() -> None:
    class Going(Blobs):
        def _fetch(self, key: str) -> bytes | None:
            return None

    service = loaded(FaceRecognition)
    result = answer(service, Going(a=b"x").job("a"))
    assert result["album_errors"] == [{"key": "a", "sample": "a", "error": NO_BLOB}]


def test_a_store_that_is_away_fails_its_own_item() -> None:
    class Away(Blobs):
        def _fetch(self, key: str) -> bytes | None:
            raise StoreAway

    service = loaded(FaceRecognition)
    first, second = service.process([Item(Away(a=b"x").job("a")), Item(two_people(astronaut()))])
    assert isinstance(first, StoreAway)
    assert second.as_result()["nb_faces"] == 1  # type: ignore[union-attr]


def test_an_album_that_takes_too_long_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    service = loaded(FaceRecognition)
    blobs = Blobs(**{f"s{number}": jpeg(changed(number)) for number in range(4)})
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    class Slow(Blobs):
        def _fetch(self, key: str) -> bytes | None:
            now[0] += 0.6 * module.READING_SECONDS
            return super()._fetch(key)

    slow = Slow(**blobs.data)
    attempts = 0
    while True:
        (output,) = service.process([Item(slow.job(*blobs.data))])
        if not isinstance(output, Unavailable):
            break
        attempts += 1
        assert output.retryable
    assert attempts == 1
    assert slow.read == 4
    assert min(confidences(output.as_result()).values()) > 0.9  # type: ignore[union-attr]
