"""Both clients against a running Sensorium."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import angus.aio
import angus.client
from angus import results, sound
from angus.errors import ApiError
from tests.conftest import DEMO


@pytest.fixture
def conn(live: str) -> Iterator[angus.client.Root]:
    with angus.client.connect(live, client_id=DEMO[0], access_token=DEMO[1]) as root:
        yield root


def test_faces_of_a_photograph(conn: angus.client.Root, photo: bytes) -> None:
    job = conn.services.get_service("face_detection", version=1).process({"image": io.BytesIO(photo)})
    assert (job.status, job.result["nb_faces"]) == (201, 1)
    assert job.fetch() == job.result
    assert job.parse(results.FaceDetection).faces[0].roi_confidence > 0.5


def test_a_session_in_futures(conn: angus.client.Root, photo: bytes) -> None:
    service = conn.services.get_service("face_detection")
    service.enable_session()
    jobs = [future.result(60) for future in [service.process_async({"image": photo}) for _ in range(5)]]
    assert [job.result["nb_faces"] for job in jobs] == [0, 0, 0, 1, 1]
    assert len({face["id"] for job in jobs for face in job.result["faces"]}) == 1


def test_an_album_of_blobs(conn: angus.client.Root, photo: bytes) -> None:
    service = conn.services.get_service("face_recognition", 1)
    sample = conn.blobs.create(io.BytesIO(photo))
    (face,) = service.process({"image": io.BytesIO(photo), "album": {"eileen": [sample]}}).parse(results.FaceRecognition).faces
    assert (face.names[0].key, face.names[0].confidence > 0.5) == ("eileen", True)
    sample.delete()
    with pytest.raises(ApiError):
        service.process({"image": sample, "album": {}})


def test_several_services_at_once(conn: angus.client.Root, photo: bytes) -> None:
    names = ["face_detection", ("age_and_gender_estimation", 1)]
    result = conn.services.get_services(names).process({"image": io.BytesIO(photo)}).result
    assert result["face_detection"]["nb_faces"] == result["age_and_gender_estimation"]["nb_faces"] == 1


def test_an_asynchronous_job(conn: angus.client.Root) -> None:
    job = conn.services.get_service("dummy").process({"echo": "later"}, True)
    assert job.status == 202
    assert job.wait().result["echo"] == "later"
    assert job.status == 200


def test_speech(conn: angus.client.Root) -> None:
    job = conn.services.get_service("text_to_speech").process({"text": "Hi guys, how are you today?", "lang": "en-US"})
    wav = sound.decode(job.result["sound"])
    assert wav[:4] == b"RIFF"
    result = conn.services.get_service("sound_detection").process({"sound": io.BytesIO(wav), "sensitivity": 0.7})
    assert result.parse(results.SoundDetection).nb_events >= 2


def test_wrong_credentials(live: str) -> None:
    with pytest.raises(ApiError) as caught:
        angus.client.connect(live, client_id="nobody", access_token="nothing").services.get_service("dummy")
    assert caught.value.status == 401


def test_the_asyncio_client(live: str, photo: bytes) -> None:
    async def act() -> list[Any]:
        async with angus.aio.connect(live, *DEMO) as conn:
            service = await conn.services.get_service("face_detection")
            service.enable_session()
            jobs = await asyncio.gather(*(service.process({"image": photo}) for _ in range(5)))
            several = await conn.services.get_services(["face_detection", "gaze_analysis"])
            blob = await conn.blobs.create(photo)
            both = await several.process({"image": blob})
            await blob.delete()
            return [*(job.parse(results.FaceDetection).nb_faces for job in jobs), both.result["gaze_analysis"]["nb_faces"]]

    assert asyncio.run(act()) == [0, 0, 0, 1, 1, 1]


def test_the_command(live: str, home: Path) -> None:
    typed = "\n".join([live, *DEMO, ""])
    words = [str(Path(sys.executable).with_name("angusme"))]
    assert subprocess.run(words, check=False, input=typed, text=True, capture_output=True, timeout=60).returncode == 0
    done = subprocess.run([*words, "-t"], check=False, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"Server: {live}\nStatus: OK\n")
