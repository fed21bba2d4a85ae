"""The gate described for machines: an OpenAPI 3.1 document made from the types that validate the requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

from pydantic import BaseModel

from gateway.http.problem import CONTENT_TYPE, STATUS
from gateway.jobs.requests import Envelope
from gateway.openapi.data import data_paths
from gateway.openapi.speech import speech_paths, speech_schemas
from gateway.openapi.streams import stream_paths, stream_schemas
from gateway.openapi.webhooks import messages, webhook_paths, webhook_schemas
from workers.contract import File, Service
from workers.streaming import StreamingService

JsonObject = dict[str, Any]
ServiceType = type[Service[Any, Any]]

_COMPONENTS = "#/components/schemas/"
_TEXT: JsonObject = {"type": "string"}
_URL: JsonObject = {"type": "string", "format": "uri"}
_BYTES: JsonObject = {"type": "string", "format": "binary"}


def service_schemas(service: ServiceType) -> tuple[JsonObject, JsonObject]:
    """The JSON Schemas (2020-12) of the service's own parameters and of its result, each complete in itself."""
    return service.input_type.model_json_schema(mode="validation"), service.output_type.model_json_schema(mode="serialization")


def openapi_document(services: Sequence[ServiceType], server_url: str) -> JsonObject:
    """The whole document. ``server_url``: what absolute URLs in the gate's answers start with."""
    schemas = {**_common_schemas(), **stream_schemas(), **webhook_schemas(), **speech_schemas()}
    paths: JsonObject = {**_directory_paths(), **_blob_paths(), **webhook_paths(), **speech_paths(), **data_paths(), **_plain_paths()}
    for service in services:
        prefix = f"{service.name}.{service.version}"
        schemas |= _service_components(service, prefix)
        paths |= _service_paths(service, prefix)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sensorium",
            "version": _version(),
            "description": "Perception as a service: jobs on images and sounds.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server_url}],
        "security": [{"stream": []}],
        "tags": [*_TAGS, *({"name": service.name, "description": _first_line(service)} for service in services)],
        "paths": paths,
        "webhooks": messages(),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "stream": {"type": "http", "scheme": "basic", "description": "client_id and access_token of a stream"},
                "key": {"type": "http", "scheme": "bearer", "description": "client_id:access_token of a stream"},
                "data": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "From /api-token-authstream/"},
            },
            "responses": _problem_responses(),
            "headers": _headers(),
            "parameters": _parameters(),
        },
    }


_TAGS = [
    {"name": "directory", "description": "Which services there are"},
    {"name": "blobs", "description": "Files that are sent once and used in many jobs"},
    {"name": "webhooks", "description": "Being told of a job's end"},
    {"name": "data", "description": "Audience numbers"},
    {"name": "health", "description": "For whoever runs it"},
]


def _version() -> str:
    try:
        return metadata.version("sensorium")
    except metadata.PackageNotFoundError:
        return "0"


# Schemas


def _model_schemas(model: type[BaseModel], prefix: str, *, answered: bool = False) -> dict[str, JsonObject]:
    """The model's schema and those it refers to, as components named ``PREFIX.Model``."""
    schema = model.model_json_schema(mode="serialization" if answered else "validation", ref_template=f"{_COMPONENTS}{prefix}.{{model}}")
    nested = schema.pop("$defs", {})
    return {f"{prefix}.{name}": inner for name, inner in nested.items()} | {prefix: schema}


def _service_components(service: ServiceType, prefix: str) -> dict[str, JsonObject]:
    parameters = _model_schemas(service.input_type, f"{prefix}.input")
    result = _model_schemas(service.output_type, f"{prefix}.output", answered=True)
    return {
        **parameters,
        **result,
        f"{prefix}.request": {"allOf": [_ref(f"{prefix}.input"), _ref("envelope")]},
        f"{prefix}.job": {"oneOf": [{"allOf": [_ref("job"), _ref(f"{prefix}.output")]}, _ref("failed_job")]},
    }


def _common_schemas() -> dict[str, JsonObject]:
    url = {"url": _URL}
    job = {
        **url,
        "status": {"type": "integer", "minimum": 200, "maximum": 202},
        "ignored": {"type": "array", "items": _TEXT, "description": "Keys that nobody reads"},
    }
    problem = {
        "type": {**_TEXT, "description": "urn:sensorium:problem: and the code, with hyphens"},
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": _TEXT,
        "error": {**_TEXT, "description": "A sentence"},
        "code": {**_TEXT, "enum": sorted(STATUS)},
        "parameter": {**_TEXT, "description": "The input at fault"},
        "url": {**_URL, "description": "The job, if one was made"},
    }
    failed = {**url, **{name: problem[name] for name in ("status", "error", "code", "parameter")}}
    links = {"type": "object", "additionalProperties": _object({"url": _TEXT}, ["url"])}
    listed = _object({"url": _TEXT, "available": {"type": "boolean"}, "reason": _TEXT}, ["url", "available"])
    had = _object({"available": {"type": "boolean"}, "reason": _TEXT}, ["available"])
    service = {
        **url,
        "version": {"type": "integer"},
        "description": _TEXT,
        "jobs": _URL,
        "streams": _URL,
        "available": {"type": "boolean"},
        "reason": {**_TEXT, "description": "Why the service is not available, and what mends it"},
        "input": {"type": "object", "description": "JSON Schema of the parameters"},
        "output": {"type": "object", "description": "JSON Schema of the result"},
        "services": {"type": "object", "additionalProperties": had, "description": "What a composite can be asked for"},
        "models": {"type": "array", "items": _object({"name": _TEXT, "stands_in_for": _TEXT}, ["name"]), "description": "What answers now"},
        "missing_models": {"type": "array", "items": _TEXT, "description": "Networks that it does without until they are installed"},
    }
    return {
        **_model_schemas(Envelope, "envelope"),
        "problem": _object(problem, ["type", "title", "status", "detail", "error", "code"]),
        "job": _object(job, ["url", "status"]),
        "failed_job": _object(failed, ["url", "status", "error", "code"]),
        "directory": _object({"services": {"type": "object", "additionalProperties": listed}}, ["services"]),
        "versions": _object({"versions": links}, ["versions"]),
        "service": _object(service, ["url", "version", "description", "jobs", "streams", "available", "input", "output"]),
        "blob": _object({**url, "status": {"const": 201}}, ["url", "status"]),
        "health": _object({"status": _TEXT, "parts": {"type": "object", "additionalProperties": _TEXT}}, ["status"]),
    }


def _object(properties: JsonObject, required: list[str]) -> JsonObject:
    return {"type": "object", "properties": properties, "required": required}


def _ref(name: str, kind: str = "schemas") -> JsonObject:
    return {"$ref": f"#/components/{kind}/{name}"}


# Shared parts of operations


def _problem_responses() -> JsonObject:
    """One response a status, naming the codes that it stands for."""
    responses = {}
    for status in sorted(set(STATUS.values())):
        codes = ", ".join(code for code, its in STATUS.items() if its == status)
        answer: JsonObject = {"description": f"Problem: {codes}", "content": {CONTENT_TYPE: {"schema": _ref("problem")}}}
        if status in (429, 503):
            answer["headers"] = {"Retry-After": _ref("Retry-After", "headers"), **(_use() if status == 429 else {})}
        if status == 401:
            answer["headers"] = {"WWW-Authenticate": _ref("WWW-Authenticate", "headers")}
        responses[f"problem_{status}"] = answer
    return responses


_USE = ("RateLimit", "RateLimit-Policy")


def _use() -> JsonObject:
    return {name: _ref(name, "headers") for name in _USE}


def _headers() -> JsonObject:
    return {
        "Location": {"description": "Where the job is", "schema": _URL},
        "Retry-After": {"description": "Seconds after which to ask again", "schema": {"type": "integer", "minimum": 1}},
        "RateLimit": {"description": "The plan's seconds of stream that are left (r), until its renewal in t seconds", "schema": _TEXT},
        "RateLimit-Policy": {"description": "The plan's seconds of stream (q) in a window of w seconds", "schema": _TEXT},
        "WWW-Authenticate": {"description": "Basic, or Bearer for the data API", "schema": _TEXT},
        "Preference-Applied": {"description": "The preference that decided (RFC 7240)", "schema": _TEXT},
    }


def _parameters() -> JsonObject:
    return {
        "Prefer": {
            "name": "Prefer",
            "in": "header",
            "description": "wait=SECONDS or respond-async (RFC 7240); the key async of the body wins",
            "schema": {"type": "string", "examples": ["wait=10", "respond-async"]},
        },
        "Idempotency-Key": {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "The same key with the same request is the same job",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        },
        "Last-Event-ID": {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "Events after this one only",
            "schema": {"type": "string", "pattern": "^[0-9]{1,9}$"},
        },
        "job": {"name": "id", "in": "path", "required": True, "schema": _TEXT},
        "blob": {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9a-f-]{36}$"}},
    }


def _operation(name: str, summary: str, responses: JsonObject, problems: Iterable[int], **more: Any) -> JsonObject:
    """An operation of a tenant: whatever else it may answer, 401, 429 and 503 are possible."""
    found = {**responses}
    for status in sorted({*problems, 401, 429, 500, 503}):
        found[str(status)] = _ref(f"problem_{status}", "responses")
    return {"operationId": name, "summary": summary, "responses": found, **more}


def _json(description: str, schema: JsonObject, headers: Sequence[str] = ()) -> JsonObject:
    answer: JsonObject = {"description": description, "content": {"application/json": {"schema": schema}}}
    if headers:
        answer["headers"] = {name: _ref(name, "headers") for name in headers}
    return answer


def _text(description: str, media_type: str) -> JsonObject:
    return {"description": description, "content": {media_type: {"schema": _TEXT}}}


# Paths


def _directory_paths() -> JsonObject:
    def filtered(name: str) -> list[JsonObject]:
        return [{"name": name, "in": "query", "schema": _TEXT, "description": f"Only this {name}"}]

    path = {"name": "name", "in": "path", "required": True, "schema": _TEXT}
    directory = _operation("list_services", "Which services there are", {"200": _json("All", _ref("directory"))}, ())
    versions = _operation("list_versions", "Which versions of a service", {"200": _json("All", _ref("versions"))}, (404,))
    document = _operation("describe", "This document", {"200": _json("OpenAPI 3.1", {"type": "object"})}, ())
    page = _operation("reference", "This document as a page", {"200": _text("The page", "text/html")}, ())
    files = {"200": {"description": "The file", "content": {kind: {"schema": _TEXT} for kind in ("text/css", "text/javascript")}}}
    file = {"name": "file", "in": "path", "required": True, "schema": _TEXT}
    found: JsonObject = {
        "/services": {"get": {**directory, "parameters": filtered("name")}},
        "/services/{name}": {"parameters": [path], "get": {**versions, "parameters": filtered("version")}},
        "/openapi.json": {"get": document},
        "/docs": {"get": page},
        "/docs/{file}": {"parameters": [file], "get": _operation("reference_file", "What the page is made of", files, (404,))},
    }
    return {path: {**item, "get": {**item["get"], "tags": ["directory"]}} for path, item in found.items()}


def _blob_paths() -> JsonObject:
    meta = _object({"content": {**_TEXT, "description": "attachment://NAME"}}, ["content"])
    body = {"required": True, "content": {"multipart/form-data": _multipart(meta, ["content"], {"content": "attachment://content"})}}
    create = _operation("create_blob", "Store a file", {"201": _json("Stored", _ref("blob"), ["Location"])}, _REFUSALS, requestBody=body)
    found = {"200": {"description": "The bytes", "content": {"*/*": {"schema": _BYTES}}}}
    tags = {"tags": ["blobs"]}
    return {
        "/blobs": {"post": {**create, **tags}},
        "/blobs/{id}": {
            "parameters": [_ref("blob", "parameters")],
            "get": {**_operation("get_blob", "The bytes of a blob", found, (404,)), **tags},
            "delete": {**_operation("delete_blob", "Forget a blob", {"204": {"description": "Forgotten"}}, (404,)), **tags},
        },
    }


_REFUSALS = (400, 408, 413, 415)


def _plain_paths() -> JsonObject:
    """What concerns no tenant."""

    def plain(name: str, summary: str, responses: JsonObject) -> JsonObject:
        return {"get": {"operationId": name, "summary": summary, "tags": ["health"], "security": [], "responses": responses}}

    health = _json("Yes", _ref("health"))
    exposition = _text("Prometheus text format", "text/plain")
    return {
        "/healthz": plain("alive", "Whether the process runs", {"200": health}),
        "/readyz": plain("ready", "Whether all that it needs answers", {"200": health, "503": _json("No", _ref("health"))}),
        "/metrics": plain("metrics", "What the process counted", {"200": exposition}),
    }


def _service_paths(service: ServiceType, prefix: str) -> JsonObject:
    base, name = f"/services/{service.name}/{service.version}", f"{service.name}_{service.version}"
    job = _ref(f"{prefix}.job")
    finished = _json("Finished, well or not: see its status", job)
    waiting = _json("Not finished", _ref("job"), ["Retry-After"])
    address = [_ref("job", "parameters")]
    read = _operation(f"get_{name}", "A job", {"200": finished, "202": waiting}, (404, 410), parameters=[_ref("Prefer", "parameters")])
    cancel = _operation(f"cancel_{name}", "End a job", {"200": finished}, (404, 410))
    about = _operation(f"about_{name}", _first_line(service), {"200": _json("The service", _ref("service"))}, (404,))
    paths: JsonObject = {
        base: {"get": about},
        f"{base}/jobs": {"post": _submission(service, prefix, name)},
        f"{base}/jobs/{{id}}": {"parameters": address, "get": read, "delete": cancel},
        f"{base}/jobs/{{id}}/events": {"parameters": address, "get": _following(name)},
        **stream_paths(base, name, prefix),
    }
    return {
        path: {**item, **{verb: {**item[verb], "tags": [service.name]} for verb in item if verb != "parameters"}}
        for path, item in paths.items()
    }


def _submission(service: ServiceType, prefix: str, name: str) -> JsonObject:
    request = _ref(f"{prefix}.request")
    content: JsonObject = {"application/json": {"schema": request}}
    if any(_takes_files(field.annotation) for field in service.input_type.model_fields.values()):
        files = [name for name, field in service.input_type.model_fields.items() if _is_file(field.annotation)]
        content["multipart/form-data"] = _multipart(request, files, _example(service))
    done = _json("The result", {"allOf": [_ref("job"), _ref(f"{prefix}.output")]}, ["Preference-Applied", *_USE])
    if issubclass(service, StreamingService):
        done["content"]["audio/wav"] = {"schema": {"type": "string", "format": "binary"}}
    accepted = _json("Accepted, and safe", _ref("job"), ["Location", "Retry-After", "Preference-Applied", *_USE])
    return _operation(
        f"create_{name}",
        _first_line(service),
        {"201": done, "202": accepted},
        (*_REFUSALS, 404, 409, 410, 422, 504),
        description=service.description(),
        requestBody={"required": True, "content": content},
        parameters=[_ref("Prefer", "parameters"), _ref("Idempotency-Key", "parameters")],
    )


def _following(name: str) -> JsonObject:
    event = {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"type": "string"},
        "data": {**_TEXT, "contentMediaType": "application/json"},
    }
    stream = {
        "description": "Server-sent events; the last one carries the job",
        "content": {"text/event-stream": {"schema": _object(event, [*event])}},
    }
    return _operation(
        f"follow_{name}", "A job's events as they come", {"200": stream}, (404, 410), parameters=[_ref("Last-Event-ID", "parameters")]
    )


def _multipart(meta: JsonObject, files: Sequence[str], example: JsonObject | None) -> JsonObject:
    """``files``: the parameters that usually come as attachments, so that a form can be drawn; others may be called anything."""
    part = {**_BYTES, "description": "A file, under the name by which meta refers to it"}
    content: JsonObject = {
        "schema": {
            "type": "object",
            "properties": {"meta": meta, **{f"attachment://{name}": part for name in files}},
            "required": ["meta"],
            "patternProperties": {"^attachment://": part},
        },
        "encoding": {"meta": {"contentType": "application/json"}},
    }
    if example is not None:
        content["example"] = {"meta": example}
    return content


def _example(service: ServiceType) -> JsonObject | None:
    """The shortest request that the service takes, if its fields tell one."""
    given: JsonObject = {"async": False}
    for name, field in service.input_type.model_fields.items():
        if field.is_required():
            if not field.examples and not _is_file(field.annotation):
                return None
            given[name] = field.examples[0] if field.examples else f"attachment://{name}"
    return given


def _is_file(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, File)


def _takes_files(annotation: Any) -> bool:
    """Whether a field is a file, or made of files."""
    if _is_file(annotation):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(_takes_files(field.annotation) for field in annotation.model_fields.values())
    return any(_takes_files(inner) for inner in getattr(annotation, "__args__", ()))


def _first_line(service: ServiceType) -> str:
    return service.description().splitlines()[0].strip()
