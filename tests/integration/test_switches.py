"""What a stream has switched off, from the command line to the answers, in both forms of the system."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.integration.conftest import DEMO, FORMS, QUICK, start_system
from tests.integration.frame_streams import make
from tests.integration.processes import Process, System, post_job, running_system
from tests.services.helpers import astronaut, jpeg

SERVICES = ("age_and_gender_estimation", "face_expression_estimation", "face_recognition", "scene_analysis", "composite", "dummy")


@pytest.fixture(scope="module", params=FORMS)
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, System]]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    settings = {**QUICK, "HOLD_SECONDS": "30", "SESSION_SECONDS": "60", "CREDENTIALS_SECONDS": "0"}
    if request.param == "distributed":
        settings |= {
            "BROKER": request.getfixturevalue("rabbitmq_server").url,
            "STORE": request.getfixturevalue("redis_server").url,
            "NAMESPACE": f"switches{uuid.uuid4().hex[:12]}",
            "DATABASE": f"sqlite+aiosqlite:///{folder / 'accounts.db'}",
        }
    with running_system(folder, settings) as made:
        yield request.param, made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(system: tuple[str, System]) -> Process:
    return await start_system(*system)


@pytest.fixture
async def client(system: tuple[str, System], gateway: Process) -> AsyncIterator[aiohttp.ClientSession]:
    async with system[1].client(gateway) as session:
        yield session
    switch(system[1], on=["age", "expression", "gender", "identification"])


def switch(system: System, **ways: list[str]) -> dict[str, bool]:
    email = "demo@example.com" if system.credentials == DEMO else "test@example.com"
    words = [word for way, names in ways.items() for word in (f"--{way}", *names)]
    said: dict[str, bool] = json.loads(system.run("account", "privacy", email, system.credentials[0], *words, "--json"))
    return said


async def ask(client: aiohttp.ClientSession, service: str, **parameters: Any) -> tuple[int, dict[str, Any]]:
    given = {"async": False, "image": "attachment://photo", **parameters}
    return await post_job(client, service, given, {"attachment://photo": jpeg(astronaut())})


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, dict[str, Any]]:
    async with client.get(path) as response:
        return response.status, await response.json(content_type=None)


async def test_a_service_that_is_off_is_nowhere(system: tuple[str, System], client: aiohttp.ClientSession) -> None:
    off = {"face_expression_estimation", "face_recognition"}
    _, before = await get(client, "/services")
    assert off <= set(before["services"])
    assert await asyncio.to_thread(switch, system[1], off=["expression", "identification"]) == {
        **{"age": True, "expression": False, "gender": True, "identification": False}
    }
    _, after = await get(client, "/services")
    assert set(before["services"]) - set(after["services"]) == off
    for name in off:
        for path in (f"/services/{name}", f"/services/{name}/1", f"/services/{name}/1/jobs/anything"):
            status, document = await get(client, path)
            assert (status, document["code"]) == (404, "not_found"), path
        status, document = await ask(client, name)
        assert (status, document["code"]) == (404, "not_found")
        assert "switched off" in document["error"]
        async with client.post(f"/services/{name}/1/streams", json={}) as response:
            assert response.status == 404
    _, described = await get(client, "/openapi.json")
    assert not any(name in path for path in described["paths"] for name in off)
    _, composite = await get(client, "/services/composite/1")
    assert not off & set(composite["services"])
    status, document = await ask(client, "composite", services=["face_detection", "face_recognition"])
    assert (status, document["code"]) == (400, "invalid_parameter")
    assert "services" in document["parameter"]


async def test_what_is_left_of_a_service_is_answered(system: tuple[str, System], client: aiohttp.ClientSession) -> None:
    for off, other in (("gender", "age"), ("age", "gender")):
        await asyncio.to_thread(switch, system[1], off=[off], on=[other])
        status, document = await ask(client, "age_and_gender_estimation")
        assert status == 201
        (face,) = document["faces"]
        assert (other in face, off in face, f"{off}_confidence" in face) == (True, False, False)
        status, document = await ask(client, "composite", services=["age_and_gender_estimation"])
        (face,) = document["age_and_gender_estimation"]["faces"]
        assert (other in face, off in face) == (True, False)
        status, document = await ask(client, "scene_analysis")
        (entity,) = document["entities"].values()
        assert entity[other] is not None
        assert (entity[off], entity[f"{off}_confidence"]) == (None, 0)
    await asyncio.to_thread(switch, system[1], off=["age", "gender"])
    assert (await ask(client, "age_and_gender_estimation"))[0] == 404
    await asyncio.to_thread(switch, system[1], on=["age", "gender"])
    assert (await ask(client, "age_and_gender_estimation"))[0] == 201


async def test_an_open_stream_of_frames_hears_of_it(system: tuple[str, System], client: aiohttp.ClientSession) -> None:
    document = await make(client, "age_and_gender_estimation")
    async with client.ws_connect(document["url"]) as socket, asyncio.timeout(60):

        async def frame() -> dict[str, Any]:
            await socket.send_bytes(jpeg(astronaut()))
            answer: dict[str, Any] = json.loads(await socket.receive_str())
            return answer

        while not (await frame())["faces"]:
            pass
        await asyncio.to_thread(switch, system[1], off=["gender"])
        (face,) = (await frame())["faces"]
        assert ("age" in face, "gender" in face) == (True, False)
        await asyncio.to_thread(switch, system[1], off=["age"])
        await socket.send_bytes(jpeg(astronaut()))
        message = await socket.receive()
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)
        assert socket.close_code == 4404
