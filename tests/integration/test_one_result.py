"""One job, one result document, whichever way it is asked for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sensorium.demo import astronaut_jpeg
from tests.integration.frame_streams import collect, make, next_answer, path, sending, socket
from tests.integration.processes import poll_job, post_job
from tests.receivers import receiving

Document = dict[str, Any]
#: Gives the document of a job of a service with these parameters and, if there is one, this file.
Way = Callable[[aiohttp.ClientSession, str, Document, bytes | None], Awaitable[Document]]
_ATTACHED = "attachment://file"


async def _post(client: aiohttp.ClientSession, service: str, parameters: Document, data: bytes | None, **more: Any) -> Document:
    """In a new session, as every stream is one."""
    given = {**parameters, "state": {"session_id": uuid.uuid4().hex}, **more}
    if data is None:
        return (await post_job(client, service, given))[1]
    return (await post_job(client, service, {**given, "image": _ATTACHED}, {_ATTACHED: data}))[1]


async def synchronously(client: aiohttp.ClientSession, service: str, parameters: Document, data: bytes | None) -> Document:
    return await _post(client, service, parameters, data, **{"async": False})


async def by_polling(client: aiohttp.ClientSession, service: str, parameters: Document, data: bytes | None) -> Document:
    job = await _post(client, service, parameters, data)
    while True:
        async with client.get(job["url"]) as response:
            if response.status == 200:
                document: Document = await response.json()
                return document
            assert response.status in (202, 400), await response.text()


async def by_waiting(client: aiohttp.ClientSession, service: str, parameters: Document, data: bytes | None) -> Document:
    return await poll_job(client, (await _post(client, service, parameters, data))["url"])


async def by_events(client: aiohttp.ClientSession, service: str, parameters: Document, data: bytes | None) -> Document:
    job = await _post(client, service, parameters, data)
    async with client.get(job["url"] + "/events") as response:
        last = (await response.read()).decode().strip().split("\n\n")[-1]
    document: Document = json.loads(last.split("data: ", 1)[1])
    return document


async def by_webhook(client: aiohttp.ClientSession, service: str, parameters: Document, data: bytes | None) -> Document:
    async with receiving() as receiver:
        job = await _post(client, service, parameters, data, webhook={"url": receiver.url("/ok")})
        (received,) = await receiver.wait_for("/ok")
    async with client.get(job["url"]) as response:
        assert await response.read() == received.body, "the very bytes that polling gives"
    return received.document


async def by_websocket(client: aiohttp.ClientSession, service: str, parameters: Document, data: bytes | None) -> Document:
    async with socket(client, await make(client, service)) as opened:
        await opened.send_str(json.dumps(parameters))
        await opened.send_bytes(data or b"")
        return await next_answer(opened)


async def by_multipart(client: aiohttp.ClientSession, service: str, parameters: Document, data: bytes | None) -> Document:
    stream = await make(client, service)
    async with sending(client, stream) as (sender, _):
        sender.frame(data or b"", parameters)
        sender.end()
        (answer,) = await collect(client, stream)
    return answer


WAYS: dict[str, Way] = {
    "synchronous": synchronously,
    "polled": by_polling,
    "waited for": by_waiting,
    "server-sent events": by_events,
    "webhook": by_webhook,
    "WebSocket": by_websocket,
    "multipart": by_multipart,
}


async def documents(client: aiohttp.ClientSession, service: str, parameters: Document, data: bytes | None = None) -> dict[str, Document]:
    """The document by each way, without what names this job, and with the one status that says it went well (200 or 201)."""
    found = {}
    for name, way in WAYS.items():
        document = await way(client, service, parameters, data)
        assert document.pop("url", "/jobs/").count("/jobs/") == 1
        document.pop("stream", None)
        if "error" not in document:
            assert document.pop("status") in (200, 201)
        found[name] = {key: value for key, value in document.items() if key not in ("type", "title", "detail")}  # a problem's own
    return found


def assert_the_same(found: dict[str, Document]) -> None:
    first = found["synchronous"]
    assert {name: document for name, document in found.items() if document != first} == {}, first


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=2000).filter(lambda text: not any("\ud800" <= character <= "\udfff" for character in text)))
@example(text='Grüße \u2028 "\\ \x00 \U0001f600')
async def test_a_text(client: aiohttp.ClientSession, text: str) -> None:
    found = await documents(client, "dummy", {"echo": text})
    assert_the_same(found)
    assert found["WebSocket"] == {"echo": text, "count": 1}


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parameters=st.fixed_dictionaries(
        {"deed": st.sampled_from(["error", "raise", "nothing"]), "mark": st.text("aé", max_size=5)}, optional={"seconds": st.just(-1)}
    )
)
async def test_a_failure(client: aiohttp.ClientSession, parameters: Document) -> None:
    """Of the input, of the service, or none."""
    if "seconds" in parameters:  # a job that is not accepted has no document to poll; a frame always has its answer
        found = {name: await WAYS[name](client, "misbehaver", parameters, None) for name in ("synchronous", "WebSocket", "multipart")}
        assert {(document["status"], document["error"], document["parameter"]) for document in found.values()} == {
            (400, found["WebSocket"]["error"], "seconds")
        }
        return
    found = await documents(client, "misbehaver", parameters)
    assert_the_same(found)


@pytest.mark.parametrize(("service", "parameters"), [("face_detection", {}), ("upper_body_detection", {}), ("motion_detection", {})])
async def test_a_picture(client: aiohttp.ClientSession, service: str, parameters: Document) -> None:
    found = await documents(client, service, parameters, astronaut_jpeg())
    assert_the_same(found)
    assert found["multipart"]["input_size"] == [512, 512]


async def test_what_is_no_picture(client: aiohttp.ClientSession) -> None:
    found = await documents(client, "face_detection", {}, b"no picture")
    assert_the_same(found)
    assert (found["polled"]["status"], found["polled"]["parameter"]) == (422, "image")


async def test_every_way_leads_to_the_same_job(client: aiohttp.ClientSession) -> None:
    """The address in a stream's answer is that of a job like any other."""
    answer = await by_websocket(client, "dummy", {"echo": "x"}, None)
    async with client.get(path(answer["url"])) as response:
        assert await response.json() == {name: value for name, value in answer.items() if name != "stream"}
