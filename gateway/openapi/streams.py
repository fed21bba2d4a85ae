"""Streams of frames described for machines. What OpenAPI cannot say, the WebSocket, is told in words."""

from __future__ import annotations

from typing import Any

from gateway.streams.access import StreamOptions

JsonObject = dict[str, Any]

_TEXT: JsonObject = {"type": "string"}
_URL: JsonObject = {"type": "string", "format": "uri"}
_COUNT: JsonObject = {"type": "integer", "minimum": 0}
_MULTIPART = "multipart/x-mixed-replace; boundary=myboundary"
_AFTER: JsonObject = {
    "name": "after",
    "in": "query",
    "description": "Answers to frames after this one only",
    "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
}
_TICKET: JsonObject = {
    "name": "ticket",
    "in": "query",
    "description": "With Upgrade: websocket, instead of credentials: opens one WebSocket, soon after it was given",
    "schema": _TEXT,
}
_INPUT = """Each part is a frame: its `Content-Length`, its bytes, and optionally `X-Angus-DataField` (the parameter that the bytes are
for) and `X-Angus-Parameters` (a JSON object). The final boundary ends the stream; a body that just ends leaves it open."""
_OUTPUT = """Each part is the answer to a frame, in the order of the frames, in ASCII. The body ends with the stream. When it ends for
another reason, the last part is a problem whose `stream` is `{"closed": true}`."""
_ENTRANCE = """With `Upgrade: websocket` the stream itself: each binary message is a frame, a text message holds a JSON object with the
parameters of the frames after it, and each answer is a text message, in the order of the frames. Close codes are 4000 and the
status of a problem, 1000 once the sender has finished the stream, and 1001 when the gateway goes down."""


def stream_schemas() -> JsonObject:
    """The schemas that all services share."""
    options = StreamOptions.model_json_schema(mode="validation")
    addresses = {"url": _URL, "status": {"type": "integer"}, "input": _URL, "output": _URL, "websocket": _URL}
    ticket = {**_TEXT, "description": "For `?ticket=` of the WebSocket: once, and soon"}
    state = {"frames": {**_COUNT, "description": "Frames so far"}, "ended": {"type": "boolean"}, "reason": _TEXT}
    place = {
        "frame": {**_COUNT, "description": "The frame's number in its stream, from 1"},
        "dropped": {**_COUNT, "description": "Frames before it that gave way to newer ones"},
        "missed": {**_COUNT, "description": "Answers before it that are not kept any more"},
    }
    return {
        "stream_options": options,
        "stream": {
            "type": "object",
            "properties": {**addresses, "ticket": ticket, **state},
            "required": [*addresses, "ticket"],
        },
        "stream_place": {"type": "object", "properties": place, "required": ["frame", "dropped"]},
        "stream_sent": {
            "type": "object",
            "properties": {"url": _URL, "status": {"const": 200}, "frames": _COUNT, "dropped": _COUNT},
            "required": ["url", "status", "frames", "dropped"],
        },
    }


def stream_paths(base: str, name: str, prefix: str) -> JsonObject:
    """The operations of one service: ``base`` is its path, ``name`` what its operations end with, ``prefix`` that of its schemas."""
    answer = {"allOf": [_ref(f"{prefix}.job"), {"type": "object", "properties": {"stream": _ref("stream_place")}, "required": ["stream"]}]}
    made = _json("The stream", _ref("stream"), {"Location": {"$ref": "#/components/headers/Location"}})
    sent = _json("All frames were accepted", _ref("stream_sent"))
    told = {"description": "Answers", "content": {"multipart/x-mixed-replace": {"schema": answer}}}
    frames = {"required": True, "content": {_MULTIPART: {"schema": {"type": "string", "format": "binary"}}}}
    wanted = {"required": True, "content": {"application/json": {"schema": _request(prefix)}}}
    about = _operation(f"get_stream_{name}", "A stream, or its WebSocket", {"200": _json("The stream", _ref("stream"))}, _GET)
    about |= {"description": _ENTRANCE, "parameters": [_AFTER, _TICKET]}
    address = [{"name": "id", "in": "path", "required": True, "schema": _TEXT}]
    return {
        f"{base}/streams": {"post": {**_operation(f"create_stream_{name}", "Make a stream", {"201": made}, _MAKE), "requestBody": wanted}},
        f"{base}/streams/{{id}}": {
            "parameters": address,
            "get": about,
            "delete": _operation(f"end_stream_{name}", "End a stream", {"204": {"description": "Ended"}}, (404, 410)),
        },
        f"{base}/streams/{{id}}/input": {
            "parameters": address,
            "post": {
                **_operation(f"send_{name}", "Send frames", {"200": sent}, _SEND),
                "description": _INPUT,
                "requestBody": frames,
            },
        },
        f"{base}/streams/{{id}}/output": {
            "parameters": address,
            "get": {
                **_operation(f"receive_{name}", "Read answers", {"200": told}, (400, 404, 410)),
                "description": _OUTPUT,
                "parameters": [_AFTER],
            },
        },
    }


_MAKE = (400, 404, 408, 413, 415)
_SEND = (400, 404, 408, 409, 410, 413, 415)
_GET = (400, 403, 404, 410)


def _request(prefix: str) -> JsonObject:
    """The service's own parameters are all optional here: each frame may bring them."""
    own = {"type": "object", "properties": {"stream": _ref("stream_options")}}
    return {"allOf": [_ref("envelope"), own], "description": f"Beside these, parameters of every frame (see {prefix}.input)"}


def _ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(description: str, schema: JsonObject, headers: JsonObject | None = None) -> JsonObject:
    answer: JsonObject = {"description": description, "content": {"application/json": {"schema": schema}}}
    return answer if headers is None else {**answer, "headers": headers}


def _operation(name: str, summary: str, responses: JsonObject, problems: tuple[int, ...]) -> JsonObject:
    refused = {str(status): {"$ref": f"#/components/responses/problem_{status}"} for status in (*problems, 401, 429, 500, 503)}
    return {"operationId": name, "summary": summary, "responses": {**responses, **refused}}
