"""One request's spans, from the caller's own through gateway, broker and worker to the network, as a collector receives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import cv2
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from skimage.data import astronaut

from tests.integration.processes import System, post_when_served

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


class Collector:
    """Receives spans as OTLP over HTTP says."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: dict[bytes, str] = {}
        self.url = ""
        self._came = asyncio.Condition()

    async def receive(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        async with self._came:
            for resource in message.resource_spans:
                (name,) = (pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name")
                for scope in resource.scope_spans:
                    self.spans += scope.spans
                    self.services |= {one.span_id: name for one in scope.spans}
            self._came.notify_all()
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf")

    async def having(self, *names: str) -> dict[str, Any]:
        """The spans of the trace by name, once there is one of each."""
        async with asyncio.timeout(30), self._came:
            await self._came.wait_for(lambda: set(names) <= set(self.of_trace()))
            return self.of_trace()

    def of_trace(self) -> dict[str, Any]:
        return {one.name: one for one in self.spans if one.trace_id.hex() == TRACE}


@asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[str]:
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/traces", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    async with serving(made.receive) as made.url:
        yield made


def photograph() -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR))[1].tobytes()


async def test_one_request_from_end_to_end(system: System, collector: Collector) -> None:
    gateway = await system.gateway(SENSORIUM_TRACES=collector.url)
    worker = await system.worker("face_detection", SENSORIUM_TRACES=collector.url)
    async with system.client(gateway) as client:
        await post_when_served(client, "face_detection", {"image": "attachment://p"}, files={"attachment://p": photograph()})
        form = aiohttp.FormData()
        form.add_field("meta", '{"async": false, "image": "attachment://p"}', content_type="application/json")
        form.add_field("attachment://p", photograph(), filename="p")
        async with client.post("/services/face_detection/1/jobs", data=form, headers={"traceparent": TRACEPARENT}) as response:
            document = await response.json()
            assert response.status == 201, document
    for process in (gateway, worker):
        process.terminate()  # what is left is sent at the end
        assert await process.wait() == 0
    request = "POST /services/{name}/{version}/jobs"
    spans = await collector.having(request, "publish", "queue", "batch", "network", "settle")
    parents = {name: one.parent_span_id for name, one in spans.items()}
    assert parents[request].hex() == CALLER
    assert {parents[name] for name in ("publish", "queue", "batch", "settle")} == {spans[request].span_id}
    assert parents["network"] == spans["batch"].span_id
    made_by = {name: collector.services[one.span_id] for name, one in spans.items()}
    assert made_by[request] == made_by["publish"] == "sensorium-gateway"
    assert {made_by[name] for name in ("queue", "batch", "network", "settle")} == {"sensorium-worker"}
    attributes = {pair.key: pair.value.string_value for pair in spans["batch"].attributes}
    assert attributes["job"] == document["url"].rsplit("/", 1)[1]
    for one in spans.values():
        assert one.start_time_unix_nano <= one.end_time_unix_nano


async def test_a_collector_that_never_answers_holds_nobody_up(system: System) -> None:
    waits = asyncio.Event()

    async def swallow(request: web.Request) -> web.Response:
        waits.set()
        await asyncio.Event().wait()
        raise AssertionError("never")

    async with serving(swallow) as url:
        gateway = await system.gateway(SENSORIUM_TRACES=url)
        await system.worker("dummy", SENSORIUM_TRACES=url)
        async with system.client(gateway) as client:
            await post_when_served(client, "dummy", {"echo": "x"})
            async with asyncio.timeout(30):
                await waits.wait()
            async with asyncio.timeout(5), client.post("/services/dummy/1/jobs", json={"echo": "y", "async": False}) as response:
                assert response.status == 201
