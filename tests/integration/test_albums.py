"""Face recognition over HTTP: albums of blobs, and samples that are not (any more) to be had."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from sensorium.demo import astronaut_jpeg
from tests.integration.conftest import DEMO
from tests.integration.processes import Process, System, post_job, running_system
from workers.faces import drawn_face

PICTURE = {"attachment://image": astronaut_jpeg()}


@pytest.fixture(scope="module")
def own_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("albums"), {}) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(own_system: System) -> Process:
    process = own_system.start("up", "face_recognition")
    await process.ready()
    return process


@pytest.fixture
async def client(own_system: System, gateway: Process) -> AsyncIterator[aiohttp.ClientSession]:
    own_system.credentials = DEMO
    async with own_system.client(gateway) as session:
        yield session


async def upload(client: aiohttp.ClientSession, data: bytes) -> str:
    form = aiohttp.FormData()
    form.add_field("meta", json.dumps({"content": "attachment://blob"}), content_type="application/json")
    form.add_field("attachment://blob", data, filename="blob")
    async with client.post("/blobs", data=form) as response:
        assert response.status == 201
        return str((await response.json())["url"])


async def recognise(client: aiohttp.ClientSession, album: Any, **more: Any) -> tuple[int, dict[str, Any]]:
    return await post_job(client, "face_recognition", {"image": "attachment://image", "album": album, "async": False, **more}, PICTURE)


async def test_an_album_of_blobs_and_attachments(client: aiohttp.ClientSession) -> None:
    drawn = drawn_face()
    blob = await upload(client, astronaut_jpeg())
    path = "/blobs/" + blob.rsplit("/", 1)[1]
    files = {**PICTURE, "attachment://drawn": drawn}
    parameters = {"image": "attachment://image", "album": {"drawn": ["attachment://drawn"], "eileen": [blob, path]}, "async": False}
    status, answer = await post_job(client, "face_recognition", parameters, files)
    assert status == 201
    assert answer["nb_faces"] == 1
    first, second = answer["faces"][0]["names"]
    assert (first["key"], second["key"]) == ("eileen", "drawn")
    assert first["confidence"] > 0.95
    assert second["confidence"] < 0.2
    assert "album_errors" not in answer


async def test_a_deleted_sample_is_named_and_not_recognised(client: aiohttp.ClientSession) -> None:
    blob = await upload(client, astronaut_jpeg())
    session = {"state": {"session_id": uuid.uuid4().hex}}
    for _ in range(4):
        status, answer = await recognise(client, {"eileen": [blob]}, **session)
        assert status == 201
    assert answer["faces"][0]["names"][0]["confidence"] > 0.95
    async with client.delete(blob) as response:
        assert response.status == 204
    for state in ({}, session):
        status, answer = await recognise(client, {"eileen": [blob]}, **state)
        assert status == 201
        assert answer["faces"][0]["names"] == [{"key": "eileen", "confidence": 0.0}]
        assert answer["album_errors"] == [{"key": "eileen", "sample": blob, "error": "there is no such blob"}]


async def test_other_addresses_are_named_and_never_fetched(client: aiohttp.ClientSession, gateway: Process) -> None:
    good = await upload(client, astronaut_jpeg())
    bad = [f"{gateway.url}/healthz", good.replace("127.0.0.1", "elsewhere.example"), "file:///etc/passwd", "attachment://none", "x"]
    status, answer = await recognise(client, {"eileen": [*bad, good]})
    assert status == 201
    assert answer["faces"][0]["names"][0]["confidence"] > 0.95
    assert [error["sample"] for error in answer["album_errors"]] == bad
    assert all("never fetched" in error["error"] for error in answer["album_errors"])


async def test_the_blob_of_another_tenant_is_named_as_one_that_there_is_not(
    own_system: System, client: aiohttp.ClientSession, gateway: Process
) -> None:
    blob = await upload(client, astronaut_jpeg())
    status, mine = await recognise(client, {"eileen": [blob]})
    assert (status, mine["faces"][0]["names"][0]["confidence"] > 0.95) == (201, True)
    own_system.provision()
    async with own_system.client(gateway) as stranger:
        status, answer = await recognise(stranger, {"eileen": [blob]})
    assert status == 201
    assert answer["faces"][0]["names"] == [{"key": "eileen", "confidence": 0.0}]
    assert answer["album_errors"] == [{"key": "eileen", "sample": blob, "error": "there is no such blob"}]
    _, again = await recognise(client, {"eileen": [blob]})
    assert again["faces"] == mine["faces"]


@pytest.mark.parametrize(
    ("album", "wanted"),
    [({"a": ["x"] * 10_001}, 413), ({"n" * 129: []}, 400), ({"a": [1]}, 400), ("x", 400), ({"a": "x"}, 201), (None, 201), ({}, 201)],
)
async def test_malformed_albums(client: aiohttp.ClientSession, album: Any, wanted: int) -> None:
    status, answer = await recognise(client, album)
    assert status == wanted, answer
    if wanted == 201:
        assert answer["nb_faces"] == 1
    else:
        assert answer["parameter"].startswith("album")
