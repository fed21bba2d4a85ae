"""Every error has a status and an answer that says the same in both vocabularies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from gateway.http.problem import STATUS, problem_body, problem_response, status_of
from shared.errors import (
    InvalidParameter,
    NotFound,
    PerceptionError,
    QueueFull,
    QuotaExceeded,
    RateLimited,
    ServiceFailed,
    Unauthorized,
    Unavailable,
    error_types,
)


def read(response: web.Response) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    body = json.loads(response.body)
    assert isinstance(body, dict)
    return body


def test_the_table_is_complete_and_has_no_strangers() -> None:
    assert set(STATUS) == set(error_types())


def test_what_may_succeed_later_is_said_by_the_status() -> None:
    for code, kind in error_types().items():
        assert kind.retryable == (status_of(code) in (429, 503, 504)), code


def test_a_code_that_nobody_knows_is_a_failure_of_ours() -> None:
    assert status_of("from_a_newer_version") == 500


@pytest.mark.parametrize("kind", error_types().values(), ids=error_types().keys())
def test_every_error_answers(kind: type[PerceptionError]) -> None:
    response = problem_response(kind())
    body = read(response)
    assert response.status == body["status"] == STATUS[kind.code]
    assert response.content_type == "application/problem+json"
    assert body["error"] == body["detail"] == kind().message
    assert body["code"] == kind.code
    assert body["type"] == "urn:sensorium:problem:" + kind.code.replace("_", "-")
    assert body["title"]
    assert {"parameter", "url"}.isdisjoint(body)
    assert ("Retry-After" in response.headers) == (response.status in (429, 503))


def test_the_parameter_and_the_job_are_named() -> None:
    body = problem_body(InvalidParameter("image is missing", parameter="image"), url="https://host/services/dummy/1/jobs/1")
    assert (body["parameter"], body["url"]) == ("image", "https://host/services/dummy/1/jobs/1")
    assert body["title"] != body["detail"] == "image is missing"


def test_only_401_asks_for_credentials() -> None:
    assert problem_response(Unauthorized()).headers["WWW-Authenticate"].startswith("Basic realm=")
    assert "WWW-Authenticate" not in problem_response(NotFound()).headers


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (QueueFull(retry_after=0.2), "1"),
        (RateLimited(retry_after=2.1), "3"),
        (QuotaExceeded(retry_after=86400.0), "86400"),
        (Unavailable(), "7"),
    ],
)
def test_retry_after_is_in_whole_seconds_and_never_zero(error: PerceptionError, seconds: str) -> None:
    assert problem_response(error, retry_after=7).headers["Retry-After"] == seconds


def test_text_that_is_no_text_does_not_break_the_answer() -> None:
    body = read(problem_response(NotFound("there is no \udcff\ud800", parameter="\udcff")))
    assert body["error"] == "there is no \\udcff\\ud800"


def test_nothing_of_a_message_reaches_a_header() -> None:
    response = problem_response(ServiceFailed("a\r\nSet-Cookie: b", parameter="c\r\nd"), url="e\r\nf")
    assert not any("\r" in value or "\n" in value for value in response.headers.values())
