"""The gate as its users see it, over HTTP, in both forms of the system."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from typing import Any

import aiohttp
import pytest

from tests.integration.processes import Process, System, poll_job, post_job

SETTINGS = {"BATCH": "0"}  # as by default: what pays is measured at the start


async def get(client: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, dict[str, Any]]:
    async with client.get(url, headers=headers) as response:
        return response.status, await response.json(content_type=None)


async def test_health_needs_no_credentials(gateway: Process) -> None:
    async with aiohttp.ClientSession(gateway.url) as stranger:
        for path in ("/healthz", "/readyz", "/metrics"):
            async with stranger.get(path) as response:
                assert response.status == 200


async def test_every_process_is_considerate(system: tuple[str, System], gateway: Process) -> None:
    """None interrupts those that compute, and the garbage collector leaves alone what its start made."""
    for process in system[1].processes:
        if hasattr(os, "SCHED_BATCH"):
            assert os.sched_getscheduler(process.popen.pid) == os.SCHED_BATCH
        assert "process.started" in process.log.read_text()


@pytest.mark.parametrize(
    "path", ["/services", "/services/dummy", "/services/dummy/1", "/openapi.json", "/blobs/" + "0" * 36, "/services/dummy/1/jobs/x"]
)
async def test_everything_else_does(gateway: Process, path: str) -> None:
    async with aiohttp.ClientSession(gateway.url) as stranger, stranger.get(path) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic")
        assert "error" in await response.json(content_type=None)


async def test_the_directory_leads_to_the_jobs(client: aiohttp.ClientSession) -> None:
    _, directory = await get(client, "/services")
    assert {"dummy", "face_detection", "qrcode_decoder", "sound_detection"} <= set(directory["services"])
    assert directory["services"]["dummy"] == {"url": "/services/dummy", "available": True}
    _, filtered = await get(client, "/services?name=dummy")
    assert set(filtered["services"]) == {"dummy"}
    _, versions = await get(client, "/services/dummy")
    assert versions["versions"] == {"1": {"url": "/services/dummy/1"}}
    _, none = await get(client, "/services/dummy?version=2")
    assert none["versions"] == {}
    _, document = await get(client, "/services/dummy/1")
    assert document["jobs"] == f"{document['url']}/jobs"
    assert document["input"]["properties"]["echo"]["type"] == "string"


@pytest.mark.parametrize("path", ["/services/nothing", "/services/dummy/2", "/services/dummy/one", "/nowhere"])
async def test_unknown_is_404(client: aiohttp.ClientSession, path: str) -> None:
    status, body = await get(client, path)
    assert status == 404
    assert body["status"] == 404
    assert body["error"]


async def test_a_synchronous_job(client: aiohttp.ClientSession) -> None:
    status, job = await post_job(client, "dummy", {"echo": "Hello world!", "async": False})
    assert (status, job["status"], job["echo"]) == (201, 201, "Hello world!")
    assert await get(client, job["url"]) == (200, job)


async def test_an_asynchronous_job_is_the_default(client: aiohttp.ClientSession) -> None:
    async with client.post("/services/dummy/1/jobs", json={"echo": "x"}) as response:
        job = await response.json()
        assert response.status == 202
        assert job == {"url": response.headers["Location"], "status": 202}
        assert int(response.headers["Retry-After"]) > 0
    assert await poll_job(client, job["url"]) == {"url": job["url"], "status": 200, "echo": "x"}


async def test_a_job_that_takes_longer_than_it_is_held(client: aiohttp.ClientSession) -> None:
    async with client.post("/services/misbehaver/1/jobs", json={"deed": "sleep", "seconds": 1.5}, headers={"Prefer": "wait=0"}) as response:
        job = await response.json()
        assert (response.status, response.headers["Preference-Applied"]) == (202, "wait=0")
    status, waiting = await get(client, job["url"])
    assert (status, waiting["status"]) == (202, 202)
    status, done = await get(client, job["url"], Prefer="wait=10")
    assert (status, done["status"]) == (200, 201)


async def test_a_failed_job_tells_its_error_in_every_way_of_asking(client: aiohttp.ClientSession) -> None:
    status, failed = await post_job(client, "misbehaver", {"deed": "error", "async": False})
    assert (status, failed["status"], failed["error"]) == (422, 422, "as told")
    status, again = await get(client, failed["url"])
    assert (status, again["status"], again["error"]) == (200, 422, "as told")


async def test_what_a_service_raises_is_500_with_a_sentence(client: aiohttp.ClientSession) -> None:
    status, failed = await post_job(client, "misbehaver", {"deed": "raise", "async": False})
    assert (status, failed["code"]) == (500, "service_failed")
    assert "as told" not in json.dumps(failed)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"echo": 5}, "echo"),
        ({"async": "no"}, "async"),
        ({"state": {"session_id": "a/b"}}, "state.session_id"),
        ({"state": {"session_id": ""}}, "state.session_id"),
    ],
)
async def test_a_wrong_parameter_is_named(client: aiohttp.ClientSession, parameters: dict[str, Any], named: str) -> None:
    status, problem = await post_job(client, "dummy", parameters)
    assert status == 400
    assert problem["parameter"] == named
    assert named in problem["error"]


@pytest.mark.parametrize(
    "reference", ["attachment://other", "http://169.254.169.254/latest", "file:///etc/passwd", "/blobs/" + str(uuid.UUID(int=1)), "x"]
)
async def test_only_our_own_files_are_taken(client: aiohttp.ClientSession, reference: str) -> None:
    status, problem = await post_job(client, "qrcode_decoder", {"image": reference, "async": False}, {"attachment://bar": b"x"})
    assert (status, problem["parameter"]) == (400, "image")


async def test_unknown_keys_are_reported(client: aiohttp.ClientSession) -> None:
    _, job = await post_job(client, "dummy", {"ecco": "x", "async": False})
    assert (job["echo"], job["ignored"]) == ("echo", ["ecco"])


async def test_not_an_image_is_422(client: aiohttp.ClientSession) -> None:
    status, problem = await post_job(
        client, "face_detection", {"image": "attachment://a", "async": False}, {"attachment://a": b"no picture"}
    )
    assert (status, problem["parameter"]) == (422, "image")


async def test_another_tenants_job_is_not_found(client: aiohttp.ClientSession) -> None:
    _, job = await post_job(client, "dummy", {"async": False})
    url = job["url"]
    changed = url[:-1] + ("0" if url[-1] != "0" else "1")
    for wrong in (changed, url.replace("/dummy/", "/misbehaver/"), url + "0", url[:-3]):
        status, problem = await get(client, wrong)
        assert (status, problem["error"]) == (404, "there is no such job")


async def test_cancel_ends_a_waiting_job(client: aiohttp.ClientSession) -> None:
    _, job = await post_job(client, "misbehaver", {"deed": "sleep", "seconds": 1})
    async with client.delete(job["url"]) as response:
        cancelled = await response.json()
        assert (response.status, cancelled["code"]) == (200, "cancelled")
    assert await get(client, job["url"]) == (200, cancelled)


async def test_cancel_does_not_change_an_ended_job(client: aiohttp.ClientSession) -> None:
    _, job = await post_job(client, "dummy", {"async": False})
    async with client.delete(job["url"]) as response:
        assert await response.json() == job


async def test_events_end_with_the_job(client: aiohttp.ClientSession) -> None:
    _, job = await post_job(client, "misbehaver", {"deed": "sleep", "seconds": 1.3, "mark": "m"})
    async with client.get(job["url"] + "/events") as response:
        assert response.content_type == "text/event-stream"
        text = (await response.read()).decode()
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    assert [event["event"] for event in events] == ["started", "done"]
    assert json.loads(events[-1]["data"]) == (await get(client, job["url"]))[1]
    async with client.get(job["url"] + "/events", headers={"Last-Event-ID": events[0]["id"]}) as response:
        assert (await response.read()).decode().strip() == text.strip().split("\n\n")[-1]


async def test_an_idempotency_key_stands_for_one_job(client: aiohttp.ClientSession) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    urls = set()
    for _ in range(3):
        async with client.post("/services/dummy/1/jobs", json={"echo": "once", "async": False}, headers=headers) as response:
            urls.add((await response.json())["url"])
    assert len(urls) == 1
    async with client.post("/services/dummy/1/jobs", json={"echo": "twice", "async": False}, headers=headers) as response:
        assert response.status == 422
        assert (await response.json(content_type=None))["code"] == "idempotency_conflict"


async def test_a_blob_is_uploaded_once_and_used_by_address_and_path(client: aiohttp.ClientSession) -> None:
    form = aiohttp.FormData()
    form.add_field("meta", json.dumps({"content": "attachment://b"}), content_type="application/json")
    form.add_field("attachment://b", b"not a picture", filename="b")
    async with client.post("/blobs", data=form) as response:
        blob = await response.json()
        assert (response.status, blob["status"]) == (201, 201)
    async with client.get(blob["url"]) as response:
        assert await response.read() == b"not a picture"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    for reference in (blob["url"], "/blobs/" + blob["url"].rsplit("/", 1)[1]):
        status, _ = await post_job(client, "face_detection", {"image": reference, "async": False})
        assert status == 422
    async with client.delete(blob["url"]) as response:
        assert response.status == 204
    async with client.get(blob["url"]) as response:
        assert response.status == 404
    status, problem = await post_job(client, "face_detection", {"image": blob["url"], "async": False})
    assert (status, problem["parameter"]) == (400, "image")


async def test_a_large_file_travels_beside_the_message(client: aiohttp.ClientSession) -> None:
    status, problem = await post_job(
        client, "face_detection", {"image": "attachment://a", "async": False}, {"attachment://a": b"x" * 3_000_000}
    )
    assert (status, problem["parameter"]) == (422, "image")


async def test_the_faces_of_a_session_come_with_the_fourth_frame(client: aiohttp.ClientSession) -> None:
    from sensorium.demo import astronaut_jpeg

    picture = astronaut_jpeg()
    session_id = uuid.uuid4().hex
    counts, ids = [], set()
    for _ in range(5):
        parameters = {"image": "attachment://a", "async": False, "state": {"session_id": session_id}}
        status, answer = await post_job(client, "face_detection", parameters, {"attachment://a": picture})
        assert status == 201
        counts.append(answer["nb_faces"])
        ids |= {face["id"] for face in answer["faces"]}
    assert counts == [0, 0, 0, 1, 1]
    assert len(ids) == 1
    _, alone = await post_job(client, "face_detection", {"image": "attachment://a", "async": False}, {"attachment://a": picture})
    assert (alone["nb_faces"], alone["input_size"]) == (1, [512, 512])


async def test_many_frames_in_flight_are_applied_in_order(client: aiohttp.ClientSession) -> None:
    state = {"session_id": uuid.uuid4().hex}
    jobs = [(await post_job(client, "misbehaver", {"mark": str(n), "state": state}))[1] for n in range(20)]
    documents = await asyncio.gather(*(poll_job(client, job["url"]) for job in jobs))
    assert [document["count"] for document in documents] == list(range(1, 21))
    assert documents[-1]["marks"] == [str(n) for n in range(20)]


async def test_a_silent_session_is_closed_and_starts_anew(client: aiohttp.ClientSession) -> None:
    state = {"session_id": uuid.uuid4().hex}
    _, first = await post_job(client, "dummy", {"state": state, "async": False})
    _, second = await post_job(client, "dummy", {"state": state, "async": False})
    assert (first["count"], second["count"]) == (1, 2)
    async with asyncio.timeout(20):
        count = 2
        while count != 1:
            await asyncio.sleep(3.5)
            _, job = await post_job(client, "dummy", {"state": state, "async": False})
            count = job["count"]


async def test_openapi_describes_the_services(client: aiohttp.ClientSession) -> None:
    _, document = await get(client, "/openapi.json")
    assert document["openapi"].startswith("3.1")
    assert "/services/face_detection/1/jobs" in document["paths"]


async def test_the_settings_reach_the_process(system: tuple[str, System]) -> None:
    done = system[1].run("settings")
    assert "SENSORIUM_SESSION_SECONDS=2" in done
    assert system[1].environment["SENSORIUM_SECRET_KEY"] not in done
