"""Errors as HTTP answers: problem details (RFC 9457) that also carry the members of the original API.

`STATUS` is the only place where an error's code meets an HTTP status.
"""

from __future__ import annotations

import math
from typing import Any

import orjson
from aiohttp import hdrs, web

from shared.errors import PerceptionError, QuotaExceeded, ServiceFailed, error_types

CONTENT_TYPE = "application/problem+json"
#: Retry-After, in seconds, of answers that cannot estimate it, unless the settings say otherwise.
RETRY_AFTER = 2

STATUS: dict[str, int] = {
    "invalid_parameter": 400,
    "malformed_request": 400,
    "unauthorized": 401,
    "token_refused": 401,
    "signed_out": 401,
    "forged_request": 403,
    "foreign_origin": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "slow_reader": 408,
    "cancelled": 409,
    "frame_skipped": 409,
    "not_requeueable": 409,
    "stream_taken": 409,
    "result_expired": 410,
    "result_lost": 410,
    "blob_gone": 410,
    "stream_ended": 410,
    "input_too_large": 413,
    "unsupported_encoding": 415,
    "unreadable_input": 422,
    "idempotency_conflict": 422,
    "quota_exceeded": 429,
    "rate_limited": 429,
    "service_failed": 500,
    "unavailable": 503,
    "queue_full": 503,
    "broker_away": 503,
    "store_away": 503,
    "stopping": 503,
    "no_worker": 503,
    "model_missing": 503,
    "model_corrupt": 503,
    "device_missing": 503,
    "deadline_exceeded": 504,
}

#: Who would have to prove what, by the code of a 401; HTTP wants a challenge with each. `Session` makes no browser ask for a password.
_CHALLENGES = {"token_refused": "Bearer", "signed_out": "Session"}


def status_of(code: str) -> int:
    """The HTTP status of an error's code; 500 for one that nobody knows."""
    return STATUS.get(code, 500)


def problem_body(error: PerceptionError, *, url: str | None = None) -> dict[str, Any]:
    """The members of the problem. ``url`` is the job's, if one was made."""
    body: dict[str, Any] = {
        "type": f"urn:sensorium:problem:{error.code.replace('_', '-')}",
        "title": title_of(error.code),
        "status": status_of(error.code),
        "detail": error.message,
        "error": error.message,
        "code": error.code,
    }
    if error.parameter is not None:
        body["parameter"] = error.parameter
    if url is not None:
        body["url"] = url
    return body


def problem_response(error: PerceptionError, *, url: str | None = None, retry_after: float = RETRY_AFTER) -> web.Response:
    """The whole answer. ``retry_after`` (seconds) is used where trying again makes sense and the error knows no time."""
    status = status_of(error.code)
    response = web.Response(body=_encode(problem_body(error, url=url)), status=status, content_type=CONTENT_TYPE)
    if status == 401:
        response.headers[hdrs.WWW_AUTHENTICATE] = _CHALLENGES.get(error.code, 'Basic realm="Sensorium", charset="UTF-8"')
    if error.retry_after is not None or status in (429, 503):
        seconds = retry_after if error.retry_after is None else error.retry_after
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(seconds)))
    if isinstance(error, QuotaExceeded):
        response.headers.update(error.fields)
    return response


def title_of(code: str) -> str:
    """What every problem of this code has in common: the first line of the error's docstring."""
    return (error_types().get(code, ServiceFailed).__doc__ or code).strip().splitlines()[0]


def _encode(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # half of a surrogate pair, quoted from a request's path or name
        return orjson.dumps({name: _printable(value) for name, value in body.items()})


def _printable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
