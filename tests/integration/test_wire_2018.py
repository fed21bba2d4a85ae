"""The traffic of the client of 2018, replayed against both forms of the system."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sensorium.demo import astronaut_jpeg
from tests.integration.frame_streams import old_parse
from tests.integration.processes import Process, System
from tests.integration.wire import GET, POST_STREAM, Wire, path_of


@pytest.fixture
async def wire(system: tuple[str, System], gateway: Process) -> AsyncIterator[Wire]:
    connection = await Wire.connect(gateway, system[1].credentials)
    yield connection
    connection.close()


async def service_of(wire: Wire, name: str) -> str:
    """The address of a service's version, found as `get_service(name, version=1)` did."""
    listed = (await wire.get(f"/services?name={name}")).document()["services"]
    assert set(listed) == {name}
    versions = (await wire.get(f"{listed[name]['url']}?version=1")).document()["versions"]
    assert set(versions) == {"1"}
    address: str = versions["1"]["url"]
    return address


async def test_the_directory_with_its_filters(wire: Wire) -> None:
    everything = (await wire.get("/services")).document()["services"]
    assert {"dummy", "face_detection", "text_to_speech"} <= set(everything)
    assert await service_of(wire, "dummy") == "/services/dummy/1"
    assert (await wire.get("/services?name=nothing")).document()["services"] == {}
    newest = (await wire.get("/services/dummy")).document()["versions"]  # (a version that is None is not sent)
    assert max(newest.items())[1] == {"url": "/services/dummy/1"}


async def test_a_job_in_json(wire: Wire) -> None:
    jobs = f"{await service_of(wire, 'dummy')}/jobs"
    answer = await wire.post(jobs, {"echo": "Hello w\u00f6rld!", "async": False})
    job = answer.document()
    assert (answer.status, job["status"], job["echo"]) == (201, 201, "Hello w\u00f6rld!")
    assert (await wire.get(job["url"])).document() == job


async def test_a_job_that_is_fetched_later(wire: Wire) -> None:
    answer = await wire.post(f"{await service_of(wire, 'dummy')}/jobs", {"echo": "later", "async": True})
    job = answer.document()
    assert (answer.status, job["status"]) == (202, 202)
    async with asyncio.timeout(20):
        while (answer := await wire.get(job["url"])).status == 202:
            assert answer.document()["status"] == 202
    assert (answer.status, answer.document()["status"], answer.document()["echo"]) == (200, 200, "later")


async def test_a_picture_attached_under_a_uuid(wire: Wire) -> None:
    jobs, name = f"{await service_of(wire, 'face_detection')}/jobs", str(uuid.uuid1())
    answer = await wire.post(jobs, {"image": f"attachment://{name}", "async": False}, (name, astronaut_jpeg()))
    job = answer.document()
    assert (answer.status, job["status"], job["input_size"], job["nb_faces"]) == (201, 201, [512, 512], 1)
    assert set(job["faces"][0]) >= {"roi", "roi_confidence"}


async def test_a_blob_and_jobs_that_refer_to_it(wire: Wire) -> None:
    """As the composite did: one upload, a job of each service."""
    name = str(uuid.uuid1())
    answer = await wire.post("/blobs", {"content": f"attachment://{name}"}, (name, astronaut_jpeg()))
    blob = answer.document()
    assert (answer.status, blob["status"]) == (201, 201)
    for service in ("face_detection", "upper_body_detection"):
        job = await wire.post(f"/services/{service}/1/jobs", {"image": blob["url"], "async": False})
        assert (job.status, job.document()["input_size"]) == (201, [512, 512])


async def test_a_session(wire: Wire) -> None:
    jobs, state = f"{await service_of(wire, 'face_detection')}/jobs", {"session_id": str(uuid.uuid1())}
    counts = []
    for _ in range(4):
        name = str(uuid.uuid1())
        document = {"image": f"attachment://{name}", "state": state, "async": False}
        counts.append((await wire.post(jobs, document, (name, astronaut_jpeg()))).document()["nb_faces"])
    assert counts == [0, 0, 0, 1]


async def make_stream(wire: Wire, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
    answer = await wire.post(f"{await service_of(wire, service)}/streams", parameters)
    assert (answer.status, answer.document()["status"]) == (201, 201)
    return answer.document()


async def read_answers(wire: Wire, stream: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """As `Service.stream` did: decoded by the charset that was told, ten characters at a time, until the answer ends."""
    await wire.say(GET, path=path_of(stream["output"]))
    head = await wire.head()
    assert head.status == 200
    kind = [piece.strip() for piece in head.headers["content-type"].split(";")]
    assert kind[0] == "multipart/x-mixed-replace"
    assert "boundary=myboundary" in kind
    (charset,) = (piece.partition("=")[2] for piece in kind if piece.startswith("charset="))
    assert "content-encoding" not in head.headers
    text, data = "", ""
    while piece := await wire.next_chunk():
        text += piece.decode(charset)
        for start in range(0, len(text), 10):
            data, found = old_parse(data + text[start : start + 10])
            if found is not None:
                yield json.loads(found)
        text = ""


@pytest.mark.parametrize("service", ["face_detection", "dummy"])
async def test_a_stream(wire: Wire, system: tuple[str, System], gateway: Process, service: str) -> None:
    """Frames go in over one connection while answers come out over another; the generator of answers ends by itself."""
    output = await Wire.connect(gateway, system[1].credentials)
    stream = await make_stream(wire, service, {"state": {"session_id": str(uuid.uuid1())}})
    await wire.say(POST_STREAM, path=path_of(stream["input"]))

    async def send() -> None:
        for number in range(6):
            await wire.frame(astronaut_jpeg(), "image", {"echo": f"\u00e9 {number}"})
        await wire.chunk(b"--myboundary--")
        await wire.chunk(b"")

    sending = asyncio.create_task(send())
    found = [answer async for answer in read_answers(output, stream)]
    await sending
    assert (await wire.answer()).status == 200
    output.close()
    if service == "dummy":
        assert [(answer["count"], answer["echo"]) for answer in found] == [(number + 1, f"\u00e9 {number}") for number in range(6)]
    else:
        assert [answer["nb_faces"] for answer in found] == [0, 0, 0, 1, 1, 1]
    assert [answer["status"] for answer in found] == [201] * 6


async def test_every_part_of_an_output_is_as_long_in_characters_as_in_bytes(
    wire: Wire, system: tuple[str, System], gateway: Process
) -> None:
    """That client cuts by characters what it was told in bytes."""
    output = await Wire.connect(gateway, system[1].credentials)
    stream = await make_stream(wire, "dummy", {})
    await wire.say(POST_STREAM, path=path_of(stream["input"]))
    for text in ("plain", "\u00e9\u00df\u20ac\U0001f600"):
        await wire.frame(b"x", "image", {"echo": text})
    await wire.chunk(b"--myboundary--")
    await wire.chunk(b"")
    assert (await wire.answer()).status == 200
    await output.say(GET, path=path_of(stream["output"]))
    await output.head()
    raw = b""
    while piece := await output.next_chunk():
        raw += piece
    output.close()
    assert raw.isascii()
    parts = raw.split(b"--myboundary")
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    for part in parts[1:-1]:
        header, body = part.split(b"\r\n\r\n", 1)
        assert header.startswith(b"\r\nContent-Type: application/json\r\nContent-Length: ")
        assert body.endswith(b"}\r\n")
        assert len(body) - 2 == int(header.rsplit(b": ", 1)[1])


async def test_who_is_not_known_is_asked_for_credentials(wire: Wire) -> None:
    wire.basic = "bm9ib2R5Ondyb25n"
    answer = await wire.get("/services")
    assert (answer.status, answer.headers["www-authenticate"].split()[0]) == (401, "Basic")
