"""The outbox on every database: what is noted stays, what is claimed is one process's, and the receiver's owner sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from accounts.model import Plan
from accounts.store import open_accounts
from database.engine import Database
from gateway.app import open_gate
from gateway.http.parsing import Document
from gateway.jobs.documents import expired_or_lost, job_document
from gateway.jobs.requests import Request, read_envelope
from sensorium.migrate import migrate
from sensorium.processes.adapters import open_broker, open_stores
from shared.errors import QueueFull
from shared.job_ids import JobIds
from shared.settings import read_settings
from tests.contract.brokers import until
from webhooks.completions import JobViews
from webhooks.dispatcher import WebhookDispatcher
from webhooks.model import Delivery, DeliveryState, Result
from webhooks.outbox import Outbox, OutboxFull
from webhooks.signing import Secrets
from workers.catalog import load_catalog

ANN = "ann@example.com"
URL = "https://example.com/hook"
FAR = 10**15


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> AsyncIterator[str]:
    """The URL of a database with tables."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path}/it.db"
        await migrate(url)
        yield url
        return
    server = make_url(request.getfixturevalue("postgresql_server").url).set(drivername="postgresql+asyncpg")
    admin = create_async_engine(server, isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {namespace}"))
    url = server.set(database=namespace).render_as_string(hide_password=False)
    await migrate(url)
    yield url
    async with admin.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {namespace} WITH (FORCE)"))
    await admin.dispose()


@pytest.fixture
async def streams(database: str) -> list[str]:
    async with open_accounts(read_settings({}, database=database, secret_key="k" * 32)) as accounts:
        await accounts.create_account(ANN, "correct horse", Plan.ENTERPRISE)
        return [(await accounts.streams.add(ANN, name)).client_id for name in ("Door", "Window")]


@pytest.fixture
async def outbox(database: str) -> AsyncIterator[Outbox]:
    opened = Database(database, 10)
    yield Outbox(opened)
    await opened.close()


def delivery(job_id: str, stream: str, url: str = URL) -> Delivery:
    return Delivery(job_id, stream, url, f"https://gate/{job_id}", False, 1)


async def put(outbox: Outbox, *deliveries: Delivery, body: bytes | None = None, at: int = 100) -> None:
    """Noted, and finished at this moment when there is a body."""
    for one in deliveries:
        assert await outbox.add(one, at, 1000)
        if body is not None:
            assert await outbox.finish(one.job_id, body, at)


async def claim(
    outbox: Outbox, now: int = 200, lease: int = 300, most: int = 10, each: int = 10, busy: tuple[str, ...] = ()
) -> list[Delivery]:
    return await outbox.queue.claim(now, lease, most=most, each=each, busy=busy)


async def test_from_the_note_to_the_receiver(outbox: Outbox, streams: list[str]) -> None:
    one = delivery("job-1", streams[0])
    await put(outbox, one)
    assert await outbox.waiting(99, 10) == []
    assert await outbox.waiting(100, 10) == [one]
    assert not await outbox.queue.has_due(FAR)
    assert await outbox.finish("job-1", b"{}", 150)
    assert not await outbox.finish("job-1", b"later", 160), "the first end stands"
    assert await outbox.waiting(FAR, 10) == []
    assert not await outbox.queue.has_due(149)
    (claimed,) = await claim(outbox)
    assert (claimed.job_id, claimed.body, claimed.finished, claimed.lease) == ("job-1", b"{}", 150, 300)
    assert await outbox.queue.settle(claimed, DeliveryState.DELIVERED, Result(204), 1000)
    assert await claim(outbox, now=FAR) == []
    (listed,) = await outbox.log.latest(streams[0], 10)
    assert (listed.state, listed.attempts, listed.status) == ("delivered", 0, 204)
    assert await outbox.log.latest(streams[1], 10) == []
    await outbox.forget(999)
    assert await outbox.log.latest(streams[0], 10)
    await outbox.forget(1000)
    assert await outbox.log.latest(streams[0], 10) == []


async def test_a_note_without_a_job_is_removed(outbox: Outbox, streams: list[str]) -> None:
    await put(outbox, delivery("job-1", streams[0]))
    await outbox.remove("job-1")
    assert await outbox.waiting(FAR, 10) == []


async def test_a_lease_keeps_others_away_until_it_ends(outbox: Outbox, streams: list[str]) -> None:
    await put(outbox, delivery("job-1", streams[0]), body=b"{}")
    (first,) = await claim(outbox, now=200, lease=300)
    assert await claim(outbox, now=299, lease=400) == []
    (second,) = await claim(outbox, now=300, lease=400)
    late = await outbox.queue.settle(first, DeliveryState.DUE, Result(500), 999)
    assert not late, "it is somebody else's"
    assert await outbox.queue.settle(second, DeliveryState.DELIVERED, Result(200), 1000)


async def test_what_is_given_back_is_due_at_once(outbox: Outbox, streams: list[str]) -> None:
    await put(outbox, delivery("job-1", streams[0]), body=b"{}")
    await outbox.queue.release(await claim(outbox))
    (again,) = await claim(outbox, now=201, lease=301)
    assert again.attempts == 0


async def test_processes_that_claim_at_once_share(database: str, streams: list[str], outbox: Outbox) -> None:
    await put(outbox, *(delivery(f"job-{number}", streams[number % 2]) for number in range(40)), body=b"{}")
    opened = [Database(database, 10) for _ in range(4)]
    shares = await asyncio.gather(*(claim(Outbox(one), most=10, each=7) for one in opened))
    rest = await claim(outbox, most=40, each=40)
    ids = [one.job_id for share in [*shares, rest] for one in share]
    assert len(ids) == len(set(ids)) == 40
    for one in opened:
        await one.close()


async def test_a_stream_gets_no_more_than_its_share(outbox: Outbox, streams: list[str]) -> None:
    await put(outbox, *(delivery(f"a-{number}", streams[0]) for number in range(8)), body=b"{}", at=100)
    await put(outbox, *(delivery(f"b-{number}", streams[1]) for number in range(2)), body=b"{}", at=101)
    assert sorted(one.job_id for one in await claim(outbox, each=3)) == ["a-0", "a-1", "a-2", "b-0", "b-1"]
    assert await claim(outbox, each=3, busy=(streams[0],)) == []
    assert len(await claim(outbox, each=10, most=4)) == 4


async def test_a_failure_is_due_again_later(outbox: Outbox, streams: list[str]) -> None:
    await put(outbox, delivery("job-1", streams[0]), body=b"{}")
    (claimed,) = await claim(outbox)
    await outbox.queue.settle(claimed, DeliveryState.DUE, Result(error="no connection"), 500)
    assert await claim(outbox, now=499) == []
    (listed,) = await outbox.log.latest(streams[0], 10)
    assert (listed.state, listed.attempts, listed.error, listed.next_at) == ("due", 1, "no connection", 500)
    (again,) = await claim(outbox, now=500, lease=600)
    assert (again.attempts, again.body) == (1, b"{}")


async def test_a_receiver_that_is_back_gets_what_waits_for_it(outbox: Outbox, streams: list[str]) -> None:
    await put(outbox, delivery("a", streams[0]), delivery("b", streams[0]), delivery("c", streams[0], URL + "/other"), body=b"{}")
    by_id = {one.job_id: one for one in await claim(outbox)}
    for one in by_id.values():
        await outbox.queue.settle(one, DeliveryState.DUE, Result(500), 9000)
    await outbox.queue.hurry(by_id["a"], 400)
    assert sorted(one.job_id for one in await claim(outbox, now=400, lease=500)) == ["a", "b"]


async def test_a_receiver_that_wants_nothing_gets_nothing(outbox: Outbox, streams: list[str]) -> None:
    await put(outbox, delivery("a", streams[0]), body=b"{}")
    await put(outbox, delivery("b", streams[0]), delivery("c", streams[0], URL + "/other"), delivery("d", streams[1]))
    (claimed,) = await claim(outbox)
    await outbox.queue.disable(claimed, 250, 1000)
    assert {one.job_id for one in await outbox.waiting(FAR, 10)} == {"c", "d"}, "another's receiver at the same address is another receiver"
    assert not await outbox.add(delivery("e", streams[0]), 100, 1000)
    assert await outbox.add(delivery("f", streams[1]), 100, 1000)
    assert [(one.url, one.since) for one in await outbox.log.disabled(streams[0], 10)] == [(URL, 250)]
    states = {one.job_url[-1]: (one.state, one.status) for one in await outbox.log.latest(streams[0], 10)}
    assert states == {"a": ("disabled", 410), "b": ("disabled", None), "c": ("waiting", None)}
    assert await outbox.log.enable(streams[0], URL)
    assert not await outbox.log.enable(streams[0], URL)
    assert await outbox.add(delivery("e", streams[0]), 100, 1000)


async def test_there_is_an_end_to_what_a_stream_may_have_waiting(outbox: Outbox, streams: list[str]) -> None:
    for number in range(3):
        await outbox.add(delivery(f"job-{number}", streams[0]), 100, 3)
    with pytest.raises(OutboxFull):
        await outbox.add(delivery("job-3", streams[0]), 100, 3)
    assert await outbox.add(delivery("job-4", streams[1]), 100, 3)
    await outbox.finish("job-0", b"{}", 100)
    (claimed,) = await claim(outbox)
    await outbox.queue.settle(claimed, DeliveryState.GIVEN_UP, Result(500), 1000)
    assert await outbox.add(delivery("job-3", streams[0]), 100, 3)


async def test_ends_are_looked_for_later(outbox: Outbox, streams: list[str]) -> None:
    await put(outbox, delivery("a", streams[0]), delivery("b", streams[0]))
    await outbox.look_later({"a": 500, "b": 600})
    assert [one.job_id for one in await outbox.waiting(500, 10)] == ["a"]
    assert [one.job_id for one in await outbox.waiting(600, 10)] == ["a", "b"]
    assert [one.job_id for one in await outbox.waiting(600, 1)] == ["a"]


async def test_a_changed_secret_is_known_to_all(outbox: Outbox, streams: list[str]) -> None:
    assert await outbox.generations.of(streams[0]) == (0, 0)
    assert await outbox.generations.next(streams[0], 100) == 1
    assert await outbox.generations.next(streams[0], 200) == 2
    assert await outbox.generations.of(streams[0]) == (2, 200)
    assert await outbox.generations.of(streams[1]) == (0, 0)


async def test_what_belongs_to_a_stream_goes_with_it(database: str, outbox: Outbox, streams: list[str]) -> None:
    await put(outbox, delivery("a", streams[0]), body=b"{}")
    await outbox.generations.next(streams[0], 100)
    (claimed,) = await claim(outbox)
    async with open_accounts(read_settings({}, database=database, secret_key="k" * 32)) as accounts:
        await accounts.delete_account(ANN)
    assert not await outbox.queue.settle(claimed, DeliveryState.DELIVERED, Result(200), 1000)
    await outbox.queue.disable(claimed, 250, 1000)
    assert await outbox.log.disabled(streams[0], 10) == []
    assert await outbox.log.latest(streams[0], 10) == []
    assert await outbox.generations.of(streams[0]) == (0, 0)


async def test_a_job_that_is_not_accepted_leaves_no_note(database: str, streams: list[str], outbox: Outbox) -> None:
    settings = read_settings({}, database=database, secret_key="k" * 32, queue_limit=1)
    catalog = {key: kind for key, kind in load_catalog().items() if key == ("dummy", 1)}
    in_hand: list[object] = []
    async with AsyncExitStack() as stack:
        accounts = await stack.enter_async_context(open_accounts(settings))
        broker = await stack.enter_async_context(open_broker(settings))
        stores = await stack.enter_async_context(open_stores(settings, 7))
        consumer = await broker.consume("dummy", 1, in_hand.append)
        stack.push_async_callback(consumer.stop)
        gate = await stack.enter_async_context(open_gate(settings, catalog, broker, stores, accounts, JobIds(b"k" * 32, 7)))
        document = Document({"webhook": {"url": URL}})
        secret = await accounts.streams.add(ANN, "Gate")
        tenant = await accounts.credentials.verify(secret.client_id, secret.access_token)
        assert tenant is not None
        wanted = Request(tenant, catalog["dummy", 1], document, "https://gate")
        accepted: list[str] = []

        async def fill() -> None:
            for _ in range(5):
                async with gate.submitter.submit(wanted, read_envelope(document.parameters), synchronous=False) as submitted:
                    accepted.append(submitted.job_id)

        with pytest.raises(QueueFull):
            await fill()
        assert {one.job_id for one in await outbox.waiting(FAR, 10)} == set(accepted)
        assert 1 <= len(accepted) < 5


async def test_a_job_that_ends_after_its_deadline_is_waited_for(streams: list[str], outbox: Outbox) -> None:
    """A worker that took it at the last moment computes on: what its receiver hears is its end, and not that it was lost."""
    settings = read_settings({}, deadline_seconds=1, process_seconds=120)
    created = int(time.time() * 1000) - 60_000
    noted = replace(delivery("late", streams[0]), created=created)
    await put(outbox, noted, at=created)

    async def is_looked_for() -> bool:
        return not await outbox.waiting(int(time.time() * 1000), 10)

    async with open_stores(settings, 7) as stores:
        views = JobViews(job_document, expired_or_lost)
        webhooks = WebhookDispatcher(settings, outbox, Secrets(b"k" * 32), stores, views)
        webhooks.start()
        await until(is_looked_for)
        await webhooks.stop()
        assert [one.job_id for one in await outbox.waiting(FAR, 10)] == ["late"]
