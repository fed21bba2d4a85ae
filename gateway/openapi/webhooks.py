"""Webhooks described for machines: what their owner sees, and what a receiver gets."""

from __future__ import annotations

from typing import Any

from webhooks.model import DeliveryState

JsonObject = dict[str, Any]

_TEXT: JsonObject = {"type": "string"}
_URL: JsonObject = {"type": "string", "format": "uri"}
_MOMENT: JsonObject = {"type": "string", "format": "date-time"}
_SECRET: JsonObject = {
    "type": "string",
    "pattern": "^whsec_[A-Za-z0-9+/]{43}=$",
    "description": "For the receiver's library of Standard Webhooks",
}
_REFUSALS = (400, 404, 408, 413, 415)


def webhook_schemas() -> JsonObject:
    """The schemas of these operations."""
    delivery = {
        "url": {**_URL, "description": "The receiver's"},
        "job": {**_URL, "description": "The job's"},
        "state": {"enum": [state.value for state in DeliveryState]},
        "failures": {"type": "integer", "minimum": 0},
        "next_at": {**_MOMENT, "description": "When it is tried again"},
        "status": {"type": "integer", "description": "What the receiver answered last"},
        "error": {**_TEXT, "description": "What kept it from answering"},
    }
    disabled = {"url": _URL, "since": _MOMENT}
    return {
        "webhook_delivery": {"type": "object", "properties": delivery, "required": ["url", "job", "state", "failures"]},
        "webhooks": _object(
            secret=_SECRET,
            deliveries={"type": "array", "items": {"$ref": "#/components/schemas/webhook_delivery"}, "description": "The latest hundred"},
            disabled={"type": "array", "items": _object(**disabled), "description": "Receivers that answered 410"},
        ),
        "webhook_secret": _object(secret=_SECRET, previous_until={**_MOMENT, "description": "So long the secret before is valid too"}),
        "webhook_enabled": _object(url=_URL, enabled={"const": True}),
    }


def webhook_paths() -> JsonObject:
    """What the owner of a stream sees and does."""
    wanted = {"required": True, "content": {"application/json": {"schema": _object(url={**_TEXT, "minLength": 1, "maxLength": 2000})}}}
    enable = _operation("enable_webhook", "Send to a receiver again that answered 410", "webhook_enabled", _REFUSALS)
    return {
        "/webhooks": {"get": _operation("get_webhooks", "The signing secret, and what became of the latest deliveries", "webhooks")},
        "/webhooks/secret": {"post": _operation("change_webhook_secret", "Change the signing secret", "webhook_secret")},
        "/webhooks/enable": {"post": {**enable, "requestBody": wanted}},
    }


def messages() -> JsonObject:
    """What a receiver gets (OpenAPI's own ``webhooks``)."""
    headers = [
        ("webhook-id", "The job's identifier; the same each time that the message is sent"),
        ("webhook-timestamp", "When it was sent, seconds since 1970"),
        ("webhook-signature", "v1 signatures (Standard Webhooks), separated by spaces"),
    ]
    job = {"oneOf": [{"$ref": "#/components/schemas/job"}, {"$ref": "#/components/schemas/failed_job"}]}
    told = {
        "operationId": "job_ended",
        "summary": "A job has ended, well or not",
        "description": "The job's document, as `GET` of the job gives it. Sent again until the receiver answers 2xx; 410 disables it.",
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": description, "schema": _TEXT} for name, description in headers
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": job}}},
        "responses": {"2XX": {"description": "Taken"}, "410": {"description": "Nothing more, please"}},
    }
    return {"job_ended": {"post": told}}


def _object(**properties: JsonObject) -> JsonObject:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _operation(name: str, summary: str, schema: str, problems: tuple[int, ...] = ()) -> JsonObject:
    answered = {"description": summary, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}
    refused = {str(status): {"$ref": f"#/components/responses/problem_{status}"} for status in sorted({*problems, 401, 429, 500, 503})}
    return {"operationId": name, "summary": summary, "tags": ["webhooks"], "responses": {"200": answered, **refused}}
