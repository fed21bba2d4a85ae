"""What `/v1/audio/speech` answers when it refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.http.middleware import RETRY_AFTER_SECONDS
from gateway.routes.speech import speak
from gateway.state import GATE
from shared.errors import NoWorker, PerceptionError, QueueFull


@pytest.mark.parametrize(("error", "wait"), [(NoWorker("nobody speaks"), "7"), (QueueFull(retry_after=3), "3")])
async def test_it_says_when_to_try_again_as_the_other_routes_do(error: PerceptionError, wait: str) -> None:
    async def authenticate(*_: Any) -> None:
        raise error

    app = web.Application()
    gate: Any = SimpleNamespace(authenticate=authenticate)
    app[GATE], app[RETRY_AFTER_SECONDS] = gate, 7
    answer = await speak(make_mocked_request("POST", "/v1/audio/speech", app=app))
    assert isinstance(answer, web.Response)
    assert isinstance(answer.body, bytes)
    assert (answer.status, answer.headers["Retry-After"]) == (503, wait)
    assert orjson.loads(answer.body)["error"]["code"] == error.code
