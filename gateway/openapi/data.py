"""The data API described for machines."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]

_TEXT: JsonObject = {"type": "string"}
_COUNT: JsonObject = {"type": "integer", "minimum": 0}
_PLACE: JsonObject = {
    "from_date": _TEXT,
    "to_date": _TEXT,
    "total_results": _COUNT,
    "nb_of_pages": _COUNT,
    "page": _COUNT,
    "next_page": {**_TEXT, "description": "The address of the next page; empty on the last"},
    "definition": {**_COUNT, "description": "The version of the metrics' definition"},
    "off": {"type": "array", "items": _TEXT, "description": "Analyses that the stream has switched off: what rests on them is null"},
    "smallest_group": {**_COUNT, "description": "Breakdowns of fewer people are null"},
}


def data_paths() -> JsonObject:
    """The token and the two ways to read what it is for."""
    login = {"type": "object", "properties": dict.fromkeys(("username", "client_id", "access_token"), _TEXT)}
    login["required"] = list(login["properties"])
    token = _operation(
        "get_data_token",
        "A token for the data API",
        {"type": "object", "properties": {"token": _TEXT}, "required": ["token"]},
        (400, 401, 408, 413, 415, 429, 503),
    )
    token |= {"security": [], "requestBody": {"required": True, "content": {"application/json": {"schema": login}}}}
    buckets = {
        "type": "object",
        "additionalProperties": {"type": "object"},
        "description": "By the beginning of the bucket, metrics by name",
    }
    listed = {"type": "array", "items": {"type": "object"}}
    span = [
        _parameter("from_date", "ISO 8601", required=True),
        _parameter("to_date", "ISO 8601; now by default"),
        _parameter("page", "From 1"),
    ]
    chosen = [
        _parameter("metrics", "Names separated by commas", required=True),
        _parameter("time", "by_hour, by_day or global"),
        _parameter("timezone", "Whose hours and days: a name of the IANA database; UTC by default"),
    ]
    problems = (400, 401, 503)
    entities = _operation(
        "get_entities",
        "Audience numbers by buckets of time",
        _object({"entities": buckets, "time": _TEXT, "senior_age": {"type": "number"}, **_PLACE}),
        problems,
    )
    visits = _operation("get_visits", "The visits that the numbers are made of", _object({"visits": listed, **_PLACE}), problems)
    secured: JsonObject = {"security": [{"data": []}]}
    return {
        "/api-token-authstream": {"post": token},
        "/api-token-authstream/": {"post": {**token, "operationId": "get_data_token_slash"}},
        "/api/1/entities": {"get": {**entities, **secured, "parameters": [*chosen, *span]}},
        "/api/1/visits": {"get": {**visits, **secured, "parameters": span}},
    }


def _object(properties: JsonObject) -> JsonObject:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _parameter(name: str, description: str, *, required: bool = False) -> JsonObject:
    return {"name": name, "in": "query", "required": required, "description": description, "schema": _TEXT}


def _operation(name: str, summary: str, schema: JsonObject, problems: tuple[int, ...]) -> JsonObject:
    answered = {"description": summary, "content": {"application/json": {"schema": schema}}}
    refused = {str(status): {"$ref": f"#/components/responses/problem_{status}"} for status in (*problems, 500)}
    return {"operationId": name, "summary": summary, "tags": ["data"], "responses": {"200": answered, **refused}}
