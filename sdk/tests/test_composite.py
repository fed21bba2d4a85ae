"""Several services asked as one, by both clients and in both ways."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

import angus.aio
import angus.client
from angus.client.rest import Configuration
from angus.errors import ApiError
from angus.retries import Retries
from tests.conftest import DEMO, Scripted, answer

QUICK = Retries(attempts=2, first=0.001)


@pytest.fixture
def server(scripted: Scripted) -> Scripted:
    """Two services that answer, one that does not, blobs."""
    names = ("faces", "ages", "sounds")
    scripted.on("GET", "/services", answer(200, {"services": {name: {"url": f"/services/{name}"} for name in names}}))
    for name in names:
        scripted.on("GET", f"/services/{name}", answer(200, {"versions": {"1": {"url": f"/services/{name}/1"}}}))
        scripted.on("POST", f"/services/{name}/1/jobs", answer(201, {"url": f"{scripted.url}/{name}", "status": 201, "of": name}))
    scripted.on("POST", "/services/sounds/1/jobs", answer(400, {"error": "sound: needed", "code": "invalid_parameter"}))
    scripted.on("POST", "/blobs", answer(201, {"url": f"{scripted.url}/blobs/1", "status": 201}))
    scripted.on("DELETE", "/blobs/1", answer(200, {}))
    return scripted


def with_native(server: Scripted) -> None:
    listed = {name: {"url": f"/services/{name}", "available": True} for name in ("faces", "ages", "sounds", "composite")}
    server.on("GET", "/services", answer(200, {"services": listed}))
    server.on("GET", "/services/composite", answer(200, {"versions": {"1": {"url": "/services/composite/1"}}}))
    does = {"type": "array", "items": {"enum": ["faces", "ages"]}}
    url = f"{server.url}/services/composite/1"
    server.on("GET", "/services/composite/1", answer(200, {"url": url, "input": {"properties": {"services": does}}}))
    server.on(
        "POST", "/services/composite/1/jobs", answer(201, {"url": "u", "status": 201, "faces": {"of": "faces"}, "ages": {"of": "ages"}})
    )


def ask(server: Scripted, conf: Configuration, kind: str, names: Any, **how: Any) -> Any:
    """The job's document, by the client ``kind``."""
    if kind == "client":
        return angus.client.connect(server.url, conf).services.get_services(names).process({"image": io.BytesIO(b"picture")}, **how).result

    async def asked() -> Any:
        async with angus.aio.connect(server.url, *DEMO, retries=QUICK) as conn:
            return (await (await conn.services.get_services(names)).process({"image": io.BytesIO(b"picture")}, **how)).result

    return asyncio.run(asked())


both = pytest.mark.parametrize("kind", ["client", "aio"])


@both
def test_one_upload_for_all_and_an_error_beside_the_answers(server: Scripted, conf: Configuration, kind: str) -> None:
    document = ask(server, conf, kind, None)
    assert document["status"] == 200
    assert (document["faces"]["of"], document["ages"]["of"]) == ("faces", "ages")
    assert document["sounds"] == {"status": 400, "error": "sound: needed", "code": "invalid_parameter"}
    assert len(server.sent("POST", "/blobs")) == len(server.sent("DELETE", "/blobs/1")) == 1
    for name in ("faces", "ages"):
        (request,) = server.sent("POST", f"/services/{name}/1/jobs")
        assert request.json() == {"image": f"{server.url}/blobs/1", "async": False}


@both
def test_asynchronously_the_blob_stays(server: Scripted, conf: Configuration, kind: str) -> None:
    server.on("POST", "/services/faces/1/jobs", answer(202, {"url": f"{server.url}/j", "status": 202}))
    document = ask(server, conf, kind, ["faces", ("ages", 1)], async_=True)
    assert (document["status"], document["faces"]["status"]) == (202, 202)
    assert not server.sent("DELETE", "/blobs/1")


@both
def test_the_server_s_own_composite_is_used_for_what_it_does(server: Scripted, conf: Configuration, kind: str) -> None:
    with_native(server)
    assert ask(server, conf, kind, ["faces", "ages"])["ages"] == {"of": "ages"}
    assert b'"services": ["faces", "ages"]' in server.sent("POST", "/services/composite/1/jobs")[0].body
    assert not server.sent("POST", "/blobs")
    assert ask(server, conf, kind, ["faces", "sounds"])["sounds"]["status"] == 400
    assert len(server.sent("POST", "/blobs")) == 1
    assert "composite" not in ask(server, conf, kind, None)


@both
def test_wrong_credentials_are_no_service_s_own_error(server: Scripted, conf: Configuration, kind: str) -> None:
    server.on("POST", "/services/faces/1/jobs", answer(401, {"error": "wrong", "code": "unauthorized"}))
    with pytest.raises(ApiError, match="wrong"):
        ask(server, conf, kind, ["faces", "ages"])
    assert len(server.sent("DELETE", "/blobs/1")) == 1


def test_what_is_not_finished_is_waited_for(server: Scripted, conf: Configuration) -> None:
    server.on("POST", "/services/faces/1/jobs", answer(202, {"url": f"{server.url}/j", "status": 202}))
    server.on("GET", "/j", answer(202, {"url": f"{server.url}/j", "status": 202}), answer(200, {"url": "j", "status": 200, "of": "faces"}))
    service = angus.client.connect(server.url, conf).services.get_services(["faces", "ages"])
    job = service.process_async({"image": b"picture"}, True).result(10)
    assert not job.finished
    assert job.fetch()["status"] == 202
    assert job.wait().result["faces"]["of"] == "faces"
    assert (job.result["status"], job.result["ages"]["status"]) == (200, 201)


def test_a_session_is_everybody_s_and_may_come_second(server: Scripted, conf: Configuration) -> None:
    service = angus.client.connect(server.url, conf).services.get_services(["faces", "ages"])
    session = service.create_session()
    service.process({"n": 1}, session)
    service.enable_session({"store": True})
    service.process({"n": 2})
    first, second = (request.json() for request in server.sent("POST", "/services/ages/1/jobs"))
    assert (first["state"], first["async"]) == (session.state(), False)
    assert second["store"] is True
    assert second["state"] not in (None, session.state())
