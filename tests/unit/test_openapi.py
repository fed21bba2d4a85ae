"""The OpenAPI document: valid, complete, and true to the types that validate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, Field

from gateway.openapi.document import openapi_document, service_schemas
from gateway.routes import blobs, data, health, jobs, reference, services, streams, tokens, webhooks
from shared.errors import PerceptionError
from workers.contract import Image, Input, Item, Output, Service, Sound

Document = dict[str, Any]

TOKEN = "/api-token-authstream"


class Face(BaseModel):
    roi: tuple[int, int, int, int] = Field(description="x, y, width, height in pixels")


class FacesIn(Input):
    image: Image
    sensitivity: float = Field(0.5, ge=0, le=1)


class FacesOut(Output):
    nb_faces: int
    faces: list[Face]


class Faces(Service[FacesIn, FacesOut]):
    """Finds faces.

    All of them.
    """

    name = "faces"
    input_type = FacesIn
    output_type = FacesOut

    def process(self, batch: Sequence[Item[FacesIn]]) -> Sequence[FacesOut | PerceptionError]:
        return [FacesOut(nb_faces=0, faces=[]) for _ in batch]

    @classmethod
    def example(cls) -> FacesIn:
        return FacesIn(image=Image(b""))


class Person(BaseModel):
    samples: list[Sound]


class EchoIn(Input):
    echo: str | None = None
    people: dict[str, Person] = Field(default_factory=dict)


class EchoOut(Output):
    echo: str


class Echo(Service[EchoIn, EchoOut]):
    """Says it again."""

    name = "echo"
    version = 2
    input_type = EchoIn
    output_type = EchoOut

    def process(self, batch: Sequence[Item[EchoIn]]) -> Sequence[EchoOut | PerceptionError]:
        return [EchoOut(echo=item.input.echo or "") for item in batch]

    @classmethod
    def example(cls) -> EchoIn:
        return EchoIn(echo="a")


class PlainIn(Input):
    text: str


class Plain(Service[PlainIn, EchoOut]):
    """Takes no files. Its output is another service's."""

    name = "plain"
    input_type = PlainIn
    output_type = EchoOut

    def process(self, batch: Sequence[Item[PlainIn]]) -> Sequence[EchoOut | PerceptionError]:
        return [EchoOut(echo=item.input.text) for item in batch]

    @classmethod
    def example(cls) -> PlainIn:
        return PlainIn(text="a")


@pytest.fixture(scope="module")
def document() -> Document:
    return openapi_document([Faces, Echo, Plain], "https://gate.example")


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            if verb != "parameters":
                yield path, verb, operation


def body_schema(document: Document, path: str, media_type: str = "application/json") -> Document:
    schema = document["paths"][path]["post"]["requestBody"]["content"][media_type]["schema"]
    return {**schema, "components": document["components"]}


def test_it_is_valid_openapi(document: Document) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_it_is_valid_without_any_service() -> None:
    OpenAPIV31SpecValidator(openapi_document([], "http://127.0.0.1:8000")).validate()


def test_every_address_of_the_gate_is_there(document: Document) -> None:
    of_services = {
        (f"/services/{name}{tail}", verb)
        for name in ("faces/1", "echo/2", "plain/1")
        for tail, verbs in (
            ("", "get"),
            ("/jobs", "post"),
            ("/jobs/{id}", "get delete"),
            ("/jobs/{id}/events", "get"),
            ("/streams", "post"),
            ("/streams/{id}", "get delete"),
            ("/streams/{id}/input", "post"),
            ("/streams/{id}/output", "get"),
        )
        for verb in verbs.split()
    }
    others = {("/services", "get"), ("/services/{name}", "get"), ("/blobs", "post"), ("/blobs/{id}", "get"), ("/blobs/{id}", "delete")}
    plain = {(path, "get") for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/{file}")}
    webhooks = {("/webhooks", "get"), ("/webhooks/secret", "post"), ("/webhooks/enable", "post")}
    speech = {("/v1/audio/speech", "post")}
    data = {("/api/1/entities", "get"), ("/api/1/visits", "get"), (TOKEN, "post"), (f"{TOKEN}/", "post")}
    assert {(path, verb) for path, verb, _ in operations(document)} == of_services | others | plain | data | webhooks | speech


@pytest.mark.parametrize("module", [blobs, data, health, jobs, reference, services, streams, tokens, webhooks])
def test_every_route_is_described(document: Document, module: ModuleType) -> None:
    described = {(path, verb) for path, verb, _ in operations(document)}
    for route in module.ROUTES:
        path = re.sub(r"\{(\w+):[^/]*\}", r"{\1}", route.path).replace("{name}/{version}", "echo/2")
        assert (path, route.method.lower()) in described


def test_a_form_has_a_place_for_each_file(document: Document) -> None:
    content = document["paths"]["/services/faces/1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert set(content["schema"]["properties"]) == {"meta", "attachment://image"}
    assert content["example"] == {"meta": {"async": False, "image": "attachment://image"}}


def test_what_receivers_get_is_described(document: Document) -> None:
    told = document["webhooks"]["job_ended"]["post"]
    assert {parameter["name"] for parameter in told["parameters"]} == {"webhook-id", "webhook-timestamp", "webhook-signature"}


def test_every_reference_leads_somewhere(document: Document) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            value = list(value.values())
        if isinstance(value, list):
            for inner in value:
                yield from references(inner)

    found = set(references(document))
    assert "#/components/schemas/faces.1.output.Face" in found
    for place in found:
        target: Any = document
        for step in place.removeprefix("#/").split("/"):
            target = target[step]
        assert target


def test_operations_have_names_of_their_own_and_say_what_may_go_wrong(document: Document) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    for path, _, operation in operations(document):
        if operation.get("security") is None:
            assert {"401", "429", "503"} <= set(operation["responses"]), path


def test_only_what_concerns_no_tenant_is_open(document: Document) -> None:
    open_to_all = {path for path, _, operation in operations(document) if operation.get("security") == []}
    assert open_to_all == {"/healthz", "/readyz", "/metrics", TOKEN, f"{TOKEN}/"}


def test_a_request_is_the_services_own_parameters_and_the_common_ones(document: Document) -> None:
    validator = jsonschema.Draft202012Validator(body_schema(document, "/services/faces/1/jobs"))
    validator.validate({"image": "attachment://a", "async": False, "state": {"session_id": "a-1"}, "explain": True})
    for wrong in (
        {},
        {"image": 1},
        {"image": "x", "sensitivity": 2},
        {"image": "x", "async": 1},
        {"image": "x", "state": {"session_id": "a/b"}},
    ):
        assert not validator.is_valid(wrong), wrong


def test_services_that_take_files_take_multipart(document: Document) -> None:
    for path in ("/services/faces/1/jobs", "/services/echo/2/jobs", "/blobs"):
        schema = body_schema(document, path, "multipart/form-data")
        assert schema["required"] == ["meta"]
    assert list(document["paths"]["/services/plain/1/jobs"]["post"]["requestBody"]["content"]) == ["application/json"]


def test_an_accepted_job_tells_where_it_is(document: Document) -> None:
    accepted = document["paths"]["/services/faces/1/jobs"]["post"]["responses"]["202"]
    assert {"Location", "Retry-After"} <= set(accepted["headers"])


def test_the_schemas_of_a_service_are_complete_in_themselves() -> None:
    takes, answers = service_schemas(Faces)
    jsonschema.Draft202012Validator(takes).validate({"image": "attachment://a"})
    answer = FacesOut(nb_faces=1, faces=[Face(roi=(1, 2, 3, 4))]).as_result()
    jsonschema.Draft202012Validator(answers).validate(answer)
    assert not jsonschema.Draft202012Validator(answers).is_valid({**answer, "faces": [{"roi": [1, 2]}]})
