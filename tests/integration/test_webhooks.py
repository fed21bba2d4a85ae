"""Webhooks over HTTP, in both forms of the system: signed, delivered once the job ended, whatever the receiver does."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import standardwebhooks
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from tests.integration.conftest import DEMO, FORMS
from tests.integration.processes import Process, System, poll_job, post_job, running_system
from tests.receivers import Received, Receiver, receiving

#: Short enough to be waited for.
QUICK = {
    "WEBHOOK_PRIVATE": "true",
    "WEBHOOK_TIMEOUT_SECONDS": "1",
    "WEBHOOK_FIRST_PAUSE_SECONDS": "0.2",
    "WEBHOOK_LONGEST_PAUSE_SECONDS": "0.5",
    "LOG_LEVEL": "debug",
}
SERVICES = ("dummy", "misbehaver")


@asynccontextmanager
async def database_of(server: str, name: str) -> AsyncIterator[str]:
    """The URL of a database of its own."""
    url = make_url(server).set(drivername="postgresql+asyncpg")
    admin = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    yield url.set(database=name).render_as_string(hide_password=False)
    async with admin.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    await admin.dispose()


@asynccontextmanager
async def a_system(form: str, request: pytest.FixtureRequest, folder: Path, **more: str) -> AsyncIterator[tuple[System, Process]]:
    """A running system whose gateways share what they note, and one gateway of it."""
    settings = {name: value for name, value in {**QUICK, **more}.items() if value}
    async with AsyncExitStack() as stack:
        if form == "distributed":
            name = f"hooks_{uuid.uuid4().hex[:12]}"
            server = request.getfixturevalue("postgresql_server").url
            settings |= {
                "BROKER": request.getfixturevalue("rabbitmq_server").url,
                "STORE": request.getfixturevalue("redis_server").url,
                "NAMESPACE": name,
                "DATABASE": await stack.enter_async_context(database_of(server, name)),
            }
        with running_system(folder, settings) as system:
            if form == "embedded":
                system.credentials = DEMO
                gateway = system.start("up", *SERVICES)
                await gateway.ready()
            else:
                system.provision()
                worker = system.start_worker(*SERVICES)
                gateway = await system.gateway()
                await worker.ready()
                await served(system, gateway)
            yield system, gateway


async def served(system: System, gateway: Process) -> None:
    async with system.client(gateway) as client, asyncio.timeout(20):
        while True:
            async with client.get("/services") as response:
                listed = (await response.json())["services"]
            if all(listed[name]["available"] for name in SERVICES):
                return
            await asyncio.sleep(0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=FORMS)
async def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[System, Process]]:
    async with a_system(request.param, request, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
async def client(running: tuple[System, Process]) -> AsyncIterator[aiohttp.ClientSession]:
    async with running[0].client(running[1]) as session:
        yield session


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def ask(client: aiohttp.ClientSession, url: str, service: str = "dummy", **more: Any) -> dict[str, Any]:
    status, document = await post_job(client, service, {"webhook": {"url": url}, **more})
    assert status in (201, 202), document
    return document


async def overview(client: aiohttp.ClientSession) -> dict[str, Any]:
    async with client.get("/webhooks") as response:
        assert response.status == 200
        return await response.json()  # type: ignore[no-any-return]


async def record_of(client: aiohttp.ClientSession, job: dict[str, Any], *states: str, failures: int = 0) -> dict[str, Any]:
    """What the stream's owner sees of a delivery once it has one of the states and failed so often."""
    async with asyncio.timeout(20):
        while True:
            (told,) = [one for one in (await overview(client))["deliveries"] if one["job"] == job["url"]]
            if told["state"] in states and told["failures"] >= failures:
                return told
            await asyncio.sleep(0.05)


async def secret_of(client: aiohttp.ClientSession) -> str:
    return str((await overview(client))["secret"])


def about(received: list[Received], job: dict[str, Any]) -> list[Received]:
    return [one for one in received if one.document["url"] == job["url"]]


async def test_what_is_delivered_is_signed_and_what_polling_gives(client: aiohttp.ClientSession, receiver: Receiver) -> None:
    secret = await secret_of(client)
    url = receiver.url("/ok")
    asynchronous = await ask(client, url, echo="Grüße")
    synchronous = await ask(client, url, echo="now", **{"async": False})
    assert (synchronous["status"], synchronous["echo"]) == (201, "now")
    failed = await ask(client, url, "misbehaver", deed="error")
    received = await receiver.wait_for("/ok", 3)
    for job in (asynchronous, synchronous, failed):
        (one,) = about(received, job)
        assert one.verify(secret) == await poll_job(client, job["url"])
        assert one.headers["content-type"] == "application/json"
        assert one.headers["webhook-id"] == job["url"].rsplit("/", 1)[1]
        assert "authorization" not in one.headers
        assert (await record_of(client, job, "delivered"))["status"] == 204
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        received[0].verify("whsec_" + "A" * 43 + "=")


async def test_a_cancelled_job_is_news_too(client: aiohttp.ClientSession, receiver: Receiver) -> None:
    job = await ask(client, receiver.url("/ok"), "misbehaver", deed="sleep", seconds=1)
    async with client.delete(job["url"]) as response:
        cancelled = await response.json()
    (one,) = await receiver.wait_for("/ok")
    assert one.document == cancelled
    assert cancelled["code"] == "cancelled"


async def test_failures_are_tried_again_under_the_same_id(client: aiohttp.ClientSession, receiver: Receiver) -> None:
    job = await ask(client, receiver.url("/flaky/2"))
    received = await receiver.wait_for("/flaky/2", 3)
    assert len({one.headers["webhook-id"] for one in received}) == 1
    assert len({one.body for one in received}) == 1
    secret = await secret_of(client)
    for one in received:
        one.verify(secret)
    told = await record_of(client, job, "delivered")
    assert (told["failures"], told["status"]) == (2, 200)


async def test_a_slow_receiver_holds_nobody_up(client: aiohttp.ClientSession, receiver: Receiver) -> None:
    slow = [await ask(client, receiver.url("/slow")) for _ in range(6)]
    await receiver.wait_for("/slow", 3)
    begin = time.monotonic()
    other = await ask(client, receiver.url("/ok"), echo="other", **{"async": False})
    assert time.monotonic() - begin < 1, "the job does not wait for anybody's receiver"
    await receiver.wait_for("/ok")
    told = await record_of(client, slow[0], "due", failures=1)
    assert told["error"] == "no answer in time"
    assert "next_at" in told
    assert receiver.most_open["/slow"] <= 8
    assert (await poll_job(client, other["url"]))["echo"] == "other"


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/redirect", 307, "redirects are not followed"),
        ("/garbage", None, "the connection broke or the answer was not HTTP"),
        ("/header", None, "the connection broke or the answer was not HTTP"),
    ],
)
async def test_answers_that_are_none(client: aiohttp.ClientSession, receiver: Receiver, path: str, status: int | None, error: str) -> None:
    job = await ask(client, receiver.url(path))
    told = await record_of(client, job, "due", failures=1)
    assert (told.get("status"), told["error"]) == (status, error)
    assert receiver.at("/ok/redirected") == []
    assert receiver.sent < 20_000_000


async def test_the_body_of_an_answer_is_not_read(client: aiohttp.ClientSession, receiver: Receiver) -> None:
    job = await ask(client, receiver.url("/huge"))
    assert (await record_of(client, job, "delivered"))["status"] == 200
    assert receiver.sent < 20_000_000


async def test_a_receiver_says_when_to_come_back(client: aiohttp.ClientSession, receiver: Receiver) -> None:
    await ask(client, receiver.url("/busy"))
    await receiver.wait_for("/busy", 1)
    begin = time.monotonic()
    await receiver.wait_for("/busy", 2)
    assert time.monotonic() - begin > 0.4, "Retry-After is heeded up to the longest pause"


async def test_410_ends_it_until_the_owner_says_otherwise(client: aiohttp.ClientSession, receiver: Receiver) -> None:
    url = receiver.url("/gone")
    job = await ask(client, url)
    await record_of(client, job, "disabled")
    after = await ask(client, url, echo="x", ecco="y")
    assert after["ignored"] == ["ecco", "webhook"]
    assert (await poll_job(client, after["url"]))["echo"] == "x"
    assert url in [one["url"] for one in (await overview(client))["disabled"]]
    assert len(receiver.at("/gone")) == 1
    async with client.post("/webhooks/enable", json={"url": url}) as response:
        assert (response.status, await response.json()) == (200, {"url": url, "enabled": True})
    async with client.post("/webhooks/enable", json={"url": url}) as response:
        assert response.status == 404
    assert "ignored" not in await ask(client, url)
    await receiver.wait_for("/gone", 2)


async def test_a_receiver_that_was_away_gets_everything(client: aiohttp.ClientSession) -> None:
    async with receiving() as before:
        port, url = before.port, before.url("/ok")
    jobs = [await ask(client, url, echo=str(number)) for number in range(12)]
    told = await record_of(client, jobs[0], "due", failures=2)
    assert told["error"] == "no connection"
    async with receiving(port) as back:
        received = await back.wait_for("/ok", len(jobs))
        assert {one.document["url"] for one in received} == {job["url"] for job in jobs}


async def test_a_changed_secret_and_the_one_before_are_valid(client: aiohttp.ClientSession, receiver: Receiver) -> None:
    before = await secret_of(client)
    async with client.post("/webhooks/secret") as response:
        changed = await response.json()
    assert changed["secret"] == await secret_of(client) != before
    await ask(client, receiver.url("/ok"))
    (one,) = await receiver.wait_for("/ok")
    for secret in (before, changed["secret"]):
        one.verify(secret)


@pytest.mark.parametrize("webhook", [{"url": "ftp://a/"}, {"url": "https://u:p@a/"}, {"url": ""}, {"url": 5}, {}, "https://a/"])
async def test_a_wrong_address_is_the_requests_fault(client: aiohttp.ClientSession, webhook: Any) -> None:
    status, problem = await post_job(client, "dummy", {"webhook": webhook})
    assert status == 400
    assert problem["parameter"].startswith("webhook")


async def test_webhooks_need_credentials(running: tuple[System, Process]) -> None:
    async with aiohttp.ClientSession(running[1].url) as stranger:
        for method, path in (("GET", "/webhooks"), ("POST", "/webhooks/secret"), ("POST", "/webhooks/enable")):
            async with stranger.request(method, path) as response:
                assert response.status == 401


# Crashes


async def test_a_gateway_that_dies_leaves_nothing_undelivered(request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver) -> None:
    """What ended before the crash is in the outbox; what runs on meanwhile is found by whoever comes next."""
    async with a_system("distributed", request, tmp_path) as (system, gateway):
        async with system.client(gateway) as client:
            ended = await ask(client, receiver.url("/flaky/1"), echo="ended")
            await record_of(client, ended, "due", "delivered", failures=1)
            runs = await ask(client, receiver.url("/ok"), "misbehaver", deed="sleep", seconds=2, mark="runs")
            gateway.kill()
        next_one = await system.gateway()
        await receiver.wait_for("/flaky/1", 2)
        (one,) = await receiver.wait_for("/ok", seconds=40)
        async with system.client(next_one) as client:
            one.verify(await secret_of(client))
        assert (one.document["url"], one.document["mark"]) == (runs["url"], "runs")


async def test_an_embedded_system_that_dies_delivers_what_it_knows(
    request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver
) -> None:
    """Results that were only in memory are lost, and that is what the receiver is told."""
    async with a_system("embedded", request, tmp_path, DEADLINE_SECONDS="1", PROCESS_SECONDS="6") as (system, gateway):
        async with system.client(gateway) as client:
            ended = await ask(client, receiver.url("/flaky/1"), echo="ended")
            await receiver.wait_for("/flaky/1")
            lost = await ask(client, receiver.url("/ok"), "misbehaver", deed="sleep", seconds=5)
        gateway.kill()
        await system.start("up", *SERVICES).ready()
        assert [one.document["echo"] for one in await receiver.wait_for("/flaky/1", 2)] == ["ended"] * 2
        (one,) = await receiver.wait_for("/ok", seconds=40)
        assert (one.document["url"], one.document["code"]) == (lost["url"], "result_lost")
        assert ended["url"] != lost["url"]


async def test_two_gateways_deliver_each_once(request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver) -> None:
    async with a_system("distributed", request, tmp_path) as (system, first):
        second = await system.gateway()
        await served(system, second)
        async with system.client(first) as one, system.client(second) as other:
            jobs = await asyncio.gather(*(ask(client, receiver.url("/ok"), echo="x") for client in (one, other) for _ in range(40)))
            received = await receiver.wait_for("/ok", len(jobs))
            for job in jobs[-3:]:
                await record_of(one, job, "delivered")
        assert len(received) == len({one.headers["webhook-id"] for one in received}) == len(jobs)


async def test_by_default_only_public_addresses_and_a_bounded_backlog(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    async with (
        a_system("embedded", request, tmp_path, WEBHOOK_PRIVATE="", WEBHOOK_BACKLOG="2") as (system, gateway),
        system.client(gateway) as client,
    ):
        for url in ("http://example.com/", "https://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/", "https://2130706433/"):
            status, problem = await post_job(client, "dummy", {"webhook": {"url": url}})
            assert (status, problem["parameter"]) == (400, "webhook.url"), url
        jobs = [await ask(client, "https://nowhere.invalid/hook") for _ in range(2)]
        await record_of(client, jobs[0], "due", failures=1)
        async with client.post("/services/dummy/1/jobs", json={"webhook": {"url": "https://nowhere.invalid/hook"}}) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "60")
            assert (await response.json(content_type=None))["code"] == "rate_limited"
        assert (await post_job(client, "dummy", {}))[0] == 202


async def test_a_receiver_that_stays_away_is_given_up(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    async with receiving() as gone:
        url = gone.url("/ok")
    async with a_system("embedded", request, tmp_path, WEBHOOK_SECONDS="1") as (system, gateway), system.client(gateway) as client:
        job = await ask(client, url)
        told = await record_of(client, job, "given_up")
        assert told["failures"] >= 2
        assert told["error"] == "no connection"
        assert "next_at" not in told
        async with client.get("/metrics") as response:
            counted = await response.text()
        assert 'sensorium_webhooks_total{outcome="given_up"} 1.0' in counted
