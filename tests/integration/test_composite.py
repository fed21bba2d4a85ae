"""Several services in one job, over HTTP, in both forms of the system: a job like every other."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import aiohttp
import pytest

from sensorium.demo import astronaut_jpeg
from tests.integration.conftest import DEMO
from tests.integration.processes import Process, System, poll_job, post_job, running_system

PICTURE = {"attachment://image": astronaut_jpeg()}


async def ask(client: aiohttp.ClientSession, *services: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return await post_job(client, "composite", {"services": list(services), "image": "attachment://image", **more}, PICTURE)


async def alone(client: aiohttp.ClientSession, service: str, **more: Any) -> dict[str, Any]:
    """The service's own answer, without what belongs to the job."""
    status, document = await post_job(client, service, {"image": "attachment://image", "async": False, **more}, PICTURE)
    assert status == 201, document
    return {name: value for name, value in document.items() if name not in ("url", "status")}


async def test_the_directory_tells_what_it_can_be_asked_for(client: aiohttp.ClientSession) -> None:
    async with client.get("/services/composite/1") as response:
        document = await response.json()
    assert document["available"] is True
    assert document["services"]["face_detection"] == {"available": True}
    assert {"onlooker", "scene_analysis"} <= set(document["services"])
    assert "dummy" not in document["services"]


async def test_one_upload_and_every_result(client: aiohttp.ClientSession) -> None:
    album = {"eileen": ["attachment://image"]}
    names = ("face_recognition", "age_and_gender_estimation", "qrcode_decoder")
    status, document = await ask(client, *names, album=album, **{"async": False})
    assert (status, document["status"]) == (201, 201)
    assert list(document) == ["url", "status", *names]
    for name in names:
        assert document[name] == await alone(client, name, **({"album": album} if name == "face_recognition" else {}))
    async with client.get(document["url"]) as response:
        assert await response.json() == document


async def test_asynchronous_followed_and_explained(client: aiohttp.ClientSession) -> None:
    status, accepted = await ask(client, "face_detection", "gaze_analysis", explain=True)
    assert (status, accepted["status"]) == (202, 202)
    async with client.get(accepted["url"] + "/events") as response:
        last = (await response.read()).decode().strip().split("\n\n")[-1]
    document = await poll_job(client, accepted["url"])
    assert json.loads(last.split("data: ", 1)[1]) == document
    explained = document["explain"]["services"]
    assert set(explained) == {"face_detection", "gaze_analysis"}
    assert {"yunet", "centerface"} & {model["name"] for model in explained["face_detection"]["models"]}
    assert explained["gaze_analysis"]["compute_seconds"] > 0


async def test_a_session_is_followed_by_each_service(client: aiohttp.ClientSession) -> None:
    state = {"session_id": uuid.uuid4().hex}
    jobs = [(await ask(client, "face_detection", "onlooker", state=state))[1] for _ in range(5)]
    documents = await asyncio.gather(*(poll_job(client, job["url"]) for job in jobs))
    assert [document["face_detection"]["nb_faces"] for document in documents] == [0, 0, 0, 1, 1]
    assert [document["onlooker"]["count"] for document in documents] == [1, 2, 3, 4, 5]


async def test_errors_stand_where_the_results_would(client: aiohttp.ClientSession) -> None:
    status, document = await ask(client, "onlooker", "face_detection", look="raise", **{"async": False})
    assert status == 201
    assert document["onlooker"]["code"] == "service_failed"
    assert document["face_detection"]["nb_faces"] == 1
    status, problem = await ask(client, "onlooker", look="error", **{"async": False})
    assert (status, problem["code"], problem["parameter"]) == (422, "unreadable_input", "image")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"services": ["dummy"]}, "services.0"),
        ({"services": []}, "services"),
        ({"image": "attachment://none"}, "image"),
        ({"services": ["onlooker"], "mark": "far too long"}, "mark"),
    ],
)
async def test_a_wrong_parameter_is_named(client: aiohttp.ClientSession, wrong: dict[str, Any], named: str) -> None:
    given = {"services": ["face_detection"], "image": "attachment://image", "async": False, **wrong}
    status, problem = await post_job(client, "composite", given, PICTURE)
    assert (status, problem["parameter"]) == (400, named)


async def test_not_an_image_is_422(client: aiohttp.ClientSession) -> None:
    given = {"services": ["face_detection"], "image": "attachment://image", "async": False}
    status, problem = await post_job(client, "composite", given, {"attachment://image": b"no picture"})
    assert (status, problem["parameter"]) == (422, "image")


async def test_it_can_be_cancelled(client: aiohttp.ClientSession) -> None:
    _, accepted = await ask(client, "scene_analysis", "gaze_analysis", "face_recognition")
    async with client.delete(accepted["url"]) as response:
        document = await response.json()
    async with client.get(accepted["url"]) as response:
        assert await response.json() == document
    assert document.get("code") == "cancelled" or "scene_analysis" in document


async def test_without_weights_it_answers_for_what_can_be_had(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("weightless")
    with running_system(folder, {"MODELS_DIR": str(folder)}) as system:
        system.credentials = DEMO
        process: Process = system.start("up", "composite", "onlooker")
        await process.ready()
        async with system.client(process) as client:
            await _without_weights(system, client)


async def _without_weights(system: System, client: aiohttp.ClientSession) -> None:
    async with client.get("/services/composite/1") as response:
        document = await response.json()
    assert document["available"] is True
    assert document["services"]["onlooker"] == {"available": True}
    assert "models pull" in document["services"]["face_detection"]["reason"]
    status, answer = await ask(client, "face_detection", "onlooker", **{"async": False})
    assert status == 201
    assert (answer["face_detection"]["code"], answer["onlooker"]["together"]) == ("model_missing", 1)
    status, problem = await ask(client, "face_detection", "gaze_analysis", **{"async": False})
    assert (status, problem["code"]) == (503, "model_missing")
    assert "models pull" in problem["error"]
    refused = system.start("worker", "composite", port_option="--health-port")
    assert await refused.wait() == 69
    assert "models pull" in refused.log.read_text()
