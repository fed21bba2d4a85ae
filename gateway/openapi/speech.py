"""Speech in OpenAI's form, described for machines."""

from __future__ import annotations

from typing import Any

from gateway.routes.speech import SpeechRequest

JsonObject = dict[str, Any]

_REFUSALS = (400, 401, 404, 408, 413, 415, 422, 429, 503, 504)


def speech_schemas() -> JsonObject:
    """The schemas of this operation."""
    members = {"message": {"type": "string"}, "type": {"type": "string"}, "code": {"type": "string"}, "param": {"type": ["string", "null"]}}
    told = {"type": "object", "properties": members}
    error = {"type": "object", "properties": {"error": told}, "required": ["error"]}
    return {"speech": SpeechRequest.model_json_schema(), "speech_error": error}


def speech_paths() -> JsonObject:
    """``POST /v1/audio/speech``."""
    sound = {
        "audio/wav": {"schema": {"type": "string", "format": "binary"}},
        "audio/pcm": {"schema": {"type": "string", "format": "binary"}},
    }
    refused = {
        "description": "Refused",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/speech_error"}}},
    }
    operation = {
        "operationId": "create_speech",
        "summary": "Speech, as OpenAI's clients ask for it",
        "tags": ["text_to_speech"],
        "security": [{"stream": []}, {"key": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/speech"}}}},
        "responses": {
            "200": {"description": "The sound, in chunks while it is being made", "content": sound},
            **{str(status): refused for status in _REFUSALS},
        },
    }
    return {"/v1/audio/speech": {"post": operation}}
