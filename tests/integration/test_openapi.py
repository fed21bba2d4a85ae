"""``/openapi.json`` against the running system: whatever is sent, no answer is a surprise, and each is as the document describes it."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks

from accounts.model import DEMO_EMAIL
from tests.integration.conftest import DEMO
from tests.integration.processes import Process, running_system
from workers.faces import drawn_face

#: Services that load no weights, so that the test is about the gateway. The composite of these has three parts.
SERVICES = ("dummy", "qrcode_decoder", "composite")
CHECKS = [
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]
#: Requests an operation, half of them such as the document allows and half such as it does not.
EXAMPLES = 16
MIXED = "multipart/x-mixed-replace; boundary=myboundary"


def one_frame(data: bytes) -> bytes:
    return b"--myboundary\r\nContent-Length: %d\r\n\r\n%s\r\n--myboundary--\r\n" % (len(data), data)


@schemathesis.serializer(MIXED)
def _frames(context: Any, value: Any) -> Any:
    return one_frame(value if isinstance(value, bytes) else json.dumps(value, default=str).encode())


@dataclass
class Known:
    """What there is to be asked for: values by the end of the path, and the credentials."""

    base: str
    token: str
    schema: Any
    ids: dict[str, list[str]] = field(default_factory=dict)
    blob: str = ""

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.base, auth=DEMO, timeout=30, **more)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder: Path = tmp_path_factory.mktemp("described")
    settings = {"MODELS_DIR": str(folder), "WEBHOOK_PRIVATE": "true", "HOLD_SECONDS": "2"}
    with running_system(folder, settings) as system:
        system.credentials = DEMO
        process = system.start("up", *SERVICES, "misbehaver")
        asyncio.run(process.ready())
        yield process


@pytest.fixture(scope="module")
def known(gateway: Process) -> Known:
    login = {"username": DEMO_EMAIL, "client_id": DEMO[0], "access_token": DEMO[1]}
    token = httpx.post(f"{gateway.url}/api-token-authstream", json=login).json()["token"]
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json", auth=DEMO)
    known = Known(gateway.url, token, schema)
    with known.client() as client:
        known.blob = upload(client)
        known.ids["blobs"] = [known.blob.rsplit("/", 1)[1]]
        for service, parameters in parameters_of(known).items():
            jobs = [client.post(f"/services/{service}/1/jobs", json=parameters).json()["url"] for _ in range(3)]
            stream = client.post(f"/services/{service}/1/streams", json={}).json()["url"]
            client.delete(stream)
            known.ids[f"{service}/1/jobs"] = [url.rsplit("/", 1)[1] for url in jobs]
            known.ids[f"{service}/1/streams"] = [stream.rsplit("/", 1)[1]]
    return known


def upload(client: httpx.Client, content: bytes = drawn_face()) -> str:
    parts = {"meta": (None, '{"content": "attachment://a"}', "application/json"), "attachment://a": ("a", content, "image/jpeg")}
    response = client.post("/blobs", files=parts)
    assert response.status_code == 201, response.text
    return str(response.json()["url"])


def parameters_of(known: Known) -> dict[str, dict[str, Any]]:
    return {
        "dummy": {"echo": "x"},
        "qrcode_decoder": {"image": known.blob},
        "composite": {"image": known.blob, "services": ["qrcode_decoder", "motion_detection", "face_detection"]},
        "misbehaver": {"deed": "error"},
    }


def make_likely(case: Any, known: Known, chance: random.Random) -> None:
    """Half of the requests ask for something that there is, with a file that there is."""
    if chance.random() < 0.5:
        return
    if "id" in (case.path_parameters or {}) and (case.method, case.path) != ("DELETE", "/blobs/{id}"):
        ids = known.ids.get(case.path.split("/{id}")[0].removeprefix("/services/").removeprefix("/"))
        if ids:
            case.path_parameters["id"] = chance.choice(ids)
    if isinstance(case.body, dict) and "image" in case.body:
        case.body["image"] = known.blob
    if case.path.startswith("/api/1/"):
        case.query = {**(case.query or {}), "from_date": "2024-02-01T00:00:00+01:00", "metrics": "passing_by,gender"}


def headers_for(path: str, known: Known) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {known.token}"}} if path.startswith("/api/1/") else {"auth": DEMO}


def ask(operation: Any, known: Known) -> tuple[Counter[int], dict[str, str]]:
    """What an operation answers to some dozens of requests: how often each status, and what of it is not as described."""
    surprises: dict[str, str] = {}
    statuses: Counter[int] = Counter()
    allowed, other = (operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))
    chance = random.Random(operation.label)

    @hypothesis.seed(1)
    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck])
    @hypothesis.given(case=allowed | other)
    def request(case: Any) -> None:
        make_likely(case, known, chance)
        response = case.call(**headers_for(case.path, known), timeout=30)
        statuses[response.status_code] += 1
        if response.status_code >= 500 and "model_missing" not in response.text:  # what a composite without weights says, and may say
            surprises.setdefault(f"{operation.label} {response.status_code}", response.text)
        try:
            case.validate_response(response, checks=CHECKS)
        except (Exception, BaseExceptionGroup) as error:  # whatever it is, the others are wanted too
            surprises.setdefault(f"{operation.label} {response.status_code}", str(error)[:2000])

    request()
    return statuses, surprises


@pytest.mark.timeout(300)
def test_no_answer_is_a_surprise(known: Known) -> None:
    """The surprises are collected, so that one run tells all of them."""
    surprises: dict[str, str] = {}
    statuses: Counter[int] = Counter()
    for operation in known.schema.exclude(path_regex="/misbehaver/").get_all_operations():  # which fails because it is told to
        answered, found = ask(operation.ok(), known)
        statuses += answered
        surprises |= found
    assert not surprises, "\n\n".join(f"{label}\n{text}" for label, text in surprises.items())
    assert {200, 201, 202, 204, 400, 401, 404} <= set(statuses), "the requests were too much alike"


def as_described(known: Known, method: str, path: str, response: httpx.Response, *statuses: int) -> Any:
    """The body of an answer that has one of the statuses and is as the document describes it."""
    assert response.status_code in statuses, (method, path, response.text)
    known.schema[path][method].validate_response(response)
    is_json = "json" in response.headers.get("content-type", "")
    return response.json() if is_json else response.content


@pytest.mark.parametrize("service", ["dummy", "qrcode_decoder", "composite", "misbehaver"])
def test_a_job_is_as_described_from_its_beginning_to_its_end(known: Known, service: str) -> None:
    base, parameters = f"/services/{service}/1", parameters_of(known)[service]
    with known.client() as client:
        described = as_described(known, "GET", base, client.get(base), 200)
        assert described["available"] is True
        jobs, job, events = f"{base}/jobs", f"{base}/jobs/{{id}}", f"{base}/jobs/{{id}}/events"
        done = as_described(known, "POST", jobs, client.post(jobs, json={**parameters, "async": False, "explain": True}), 201, 422)
        accepted = as_described(known, "POST", jobs, client.post(jobs, json={**parameters, "ecco": 1, "state": {"session_id": "a"}}), 202)
        waited = as_described(known, "POST", jobs, client.post(jobs, json=parameters, headers={"Prefer": "wait=2"}), 201, 422)
        assert done["status"] == waited["status"]
        assert accepted["ignored"] == ["ecco"]
        stream = client.get(f"{accepted['url']}/events")
        assert b"event: " in as_described(known, "GET", events, stream, 200)
        ended = as_described(known, "GET", job, client.get(accepted["url"]), 200)
        assert as_described(known, "DELETE", job, client.delete(accepted["url"]), 200) == ended
        missing = client.get(accepted["url"][:-1] + "!")
        as_described(known, "GET", job, missing, 404)


def test_what_goes_with_jobs_is_as_described(known: Known) -> None:
    with known.client() as client:
        as_described(known, "GET", "/services", client.get("/services"), 200)
        as_described(known, "GET", "/services/{name}", client.get("/services/dummy"), 200)
        as_described(known, "GET", "/docs", client.get("/docs"), 200)
        as_described(known, "GET", "/docs/{file}", client.get("/docs/page.js"), 200)
        as_described(known, "GET", "/docs/{file}", client.get("/docs/swagger-ui.css"), 200)
        blob = upload(client)
        assert as_described(known, "GET", "/blobs/{id}", client.get(blob), 200) == drawn_face()
        as_described(known, "DELETE", "/blobs/{id}", client.delete(blob), 204)
        as_described(known, "GET", "/blobs/{id}", client.get(blob), 404)
        client.post("/services/dummy/1/jobs", json={"webhook": {"url": "http://127.0.0.1:9/"}})
        seen = as_described(known, "GET", "/webhooks", client.get("/webhooks"), 200)
        assert seen["deliveries"]
        as_described(known, "POST", "/webhooks/secret", client.post("/webhooks/secret"), 200)
        as_described(known, "POST", "/webhooks/enable", client.post("/webhooks/enable", json={"url": "http://a/"}), 404)


def test_what_cannot_be_read_is_as_described(known: Known) -> None:
    jobs = "/services/qrcode_decoder/1/jobs"
    with known.client() as client:
        blob = upload(client, b"no picture")
        problem = as_described(known, "POST", jobs, client.post(jobs, json={"image": blob, "async": False}), 422)
        assert (problem["code"], problem["parameter"]) == ("unreadable_input", "image")


def test_streams_are_as_described(known: Known) -> None:
    base = "/services/dummy/1/streams"
    with known.client() as client:
        made = as_described(known, "POST", base, client.post(base, json={"echo": "x"}), 201)
        as_described(known, "GET", f"{base}/{{id}}", client.get(made["url"]), 200)
        sent = client.post(made["input"], content=one_frame(b""), headers={"Content-Type": MIXED})
        as_described(known, "POST", f"{base}/{{id}}/input", sent, 200, 400)
        as_described(known, "DELETE", f"{base}/{{id}}", client.delete(made["url"]), 204)
        as_described(known, "GET", f"{base}/{{id}}", client.get(made["url"]), 200)


def test_the_data_api_is_as_described(known: Known) -> None:
    span = {"from_date": "2024-02-01T00:00:00+00:00", "to_date": "2024-02-01T05:00:00+00:00"}
    with httpx.Client(base_url=known.base, headers={"Authorization": f"Bearer {known.token}"}) as client:
        entities = client.get("/api/1/entities", params={**span, "metrics": "passing_by", "time": "by_hour"})
        assert len(as_described(known, "GET", "/api/1/entities", entities, 200)["entities"]) == 5
        as_described(known, "GET", "/api/1/visits", client.get("/api/1/visits", params=span), 200)
        as_described(known, "GET", "/api/1/visits", client.get("/api/1/visits"), 400)


def test_nothing_that_needs_credentials_answers_without(known: Known) -> None:
    seen = 0
    with httpx.Client(base_url=known.base) as stranger:
        for found in known.schema.get_all_operations():
            operation = found.ok()
            if operation.definition.raw.get("security") == []:
                continue
            path = (
                operation.path.replace("/blobs/{id}", f"/blobs/{UUID(int=0)}")
                .replace("{id}", "x")
                .replace("{name}", "dummy")
                .replace("{file}", "page.js")
            )
            response = stranger.request(operation.method, path)
            as_described(known, operation.method.upper(), operation.path, response, 401)
            assert "WWW-Authenticate" in response.headers
            seen += 1
        wrong = stranger.get("/webhooks", auth=("nobody", "nothing"))
        as_described(known, "GET", "/webhooks", wrong, 401)
    assert seen > 40
