"""The asyncio client, against a server that answers what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

import angus.aio
from angus.errors import ApiError, ConfigurationError, StillRunning, Unreachable
from angus.results import Dummy
from angus.retries import Retries
from tests.conftest import CLOSED, DEMO, Scripted, answer

JOBS = "/services/dummy/1/jobs"
T = TypeVar("T")


def run(scripted: Scripted, act: Callable[[Any], Awaitable[T]]) -> T:
    """What ``act`` makes of the service dummy."""

    async def main() -> T:
        async with angus.aio.connect(scripted.url, *DEMO, retries=Retries(attempts=3, first=0.001)) as conn:
            return await act(await conn.services.get_service("dummy"))

    return asyncio.run(main())


def done(scripted: Scripted, status: int = 201, **more: Any) -> Any:
    return answer(status, {"url": f"{scripted.url}{JOBS}/1", "status": status, **more})


def test_a_job_and_its_answer(scripted: Scripted, tmp_path: Path) -> None:
    scripted.on("POST", JOBS, done(scripted, echo="x", count=3))
    (tmp_path / "a").write_bytes(b"file")
    job = run(scripted, lambda service: service.process({"echo": tmp_path / "a"}))
    assert (job.parse(Dummy), job.status, job.finished) == (Dummy("x", 3), 201, True)
    assert b"\r\n\r\nfile\r\n" in scripted.sent("POST", JOBS)[0].body


def test_a_job_that_takes_longer_is_waited_for(scripted: Scripted) -> None:
    scripted.on("POST", JOBS, done(scripted, 202))
    scripted.on("GET", f"{JOBS}/1", done(scripted, 202), done(scripted, 200, echo="late"))
    assert run(scripted, lambda service: service.process({})).result["echo"] == "late"
    scripted.on("GET", f"{JOBS}/1", answer(200, {"url": "u", "status": 422, "error": "no picture"}))
    with pytest.raises(ApiError, match="no picture"):
        run(scripted, lambda service: service.process({}))


def test_an_asynchronous_job(scripted: Scripted) -> None:
    scripted.on("POST", JOBS, done(scripted, 202))
    scripted.on("GET", f"{JOBS}/1", done(scripted, 200, echo="x"))
    scripted.on("DELETE", f"{JOBS}/1", answer(200, {"url": "u", "status": 409}))

    async def act(service: Any) -> Any:
        job = await service.process({}, async_=True)
        assert not job.finished
        await job.fetch()
        assert (await job.wait()).result["echo"] == "x"
        assert (await job.cancel())["status"] == 409
        assert (await service.process({}, wait=2)).status == 202

    run(scripted, act)
    first, second = scripted.sent("POST", JOBS)
    assert (first.json()["async"], "async" in second.json(), second.headers["Prefer"]) == (True, False, "wait=2")


def test_waiting_has_an_end(scripted: Scripted) -> None:
    scripted.on("POST", JOBS, done(scripted, 202))
    scripted.on("GET", f"{JOBS}/1", done(scripted, 202))

    async def act(service: Any) -> None:
        with pytest.raises(StillRunning):
            await (await service.process({}, async_=True)).wait(0.05)

    run(scripted, act)


def test_not_now_and_lost_answers_are_tried_again(scripted: Scripted) -> None:
    scripted.on("POST", JOBS, answer(503, {"error": "later"}, Retry_After="0"), CLOSED, done(scripted))
    assert run(scripted, lambda service: service.process({})).status == 201
    assert len({request.headers["Idempotency-Key"] for request in scripted.sent("POST", JOBS)}) == 1
    scripted.on("POST", JOBS, CLOSED)
    with pytest.raises(Unreachable):
        run(scripted, lambda service: service.process({}))
    assert len(scripted.sent("POST", JOBS)) == 6


def test_a_key_of_the_caller_s_own(scripted: Scripted) -> None:
    scripted.on("POST", JOBS, done(scripted))
    run(scripted, lambda service: service.process({}, idempotency_key="mine"))
    assert scripted.sent("POST", JOBS)[0].headers["Idempotency-Key"] == "mine"


def test_frames_of_a_session_are_sent_one_after_the_other(scripted: Scripted) -> None:
    scripted.on("POST", JOBS, done(scripted))

    async def act(service: Any) -> None:
        session = service.enable_session({"store": True})
        await asyncio.gather(*(service.process({"n": n}) for n in range(12)))
        service.disable_session()
        await service.process({"n": 12})
        assert session.state() == scripted.sent("POST", JOBS)[0].json()["state"]

    run(scripted, act)
    sent = [request.json() for request in scripted.sent("POST", JOBS)]
    assert [document["n"] for document in sent] == list(range(13))
    assert [("state" in document, "store" in document) for document in sent] == [(True, True)] * 12 + [(False, False)]


def test_blobs(scripted: Scripted) -> None:
    scripted.on("POST", "/blobs", answer(201, {"url": f"{scripted.url}/blobs/1", "status": 201}))
    scripted.on("DELETE", "/blobs/1", answer(200, {}))
    scripted.on("POST", JOBS, done(scripted))

    async def act(service: Any) -> None:
        blob = await service._connection.blobs.create(b"x")
        await service.process({"image": blob})
        await blob.delete()

    run(scripted, act)
    assert scripted.sent("POST", JOBS)[0].json()["image"] == f"{scripted.url}/blobs/1"


def test_without_an_address_it_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="angusme"):
        angus.aio.connect()


def test_a_certificate_that_nobody_signed_is_refused(untrusted: str) -> None:
    async def act() -> None:
        async with angus.aio.connect(untrusted, *DEMO, retries=Retries(attempts=1)) as conn:
            await conn.services.list()

    with pytest.raises(Unreachable, match="ca_path"):
        asyncio.run(act())
