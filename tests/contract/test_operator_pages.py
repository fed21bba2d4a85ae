"""The operators' pages over HTTP: who sees them, what they tell, and what a form of theirs brings about."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from accounts.tables import AccountRow
from gateway.state import GATE, Gate
from shared.events import Failed, Requeued
from shared.facts import ServedFacts, WorkerFacts
from shared.jobs import Job, Turn, session_key
from shared.ports import Delivery, Entry, Message
from shared.usage import DayOfUse, day_of
from tests.console import PASSWORD, Browser, House, open_house
from tests.fakes import MISBEHAVING, TENANT, make_job
from workers.catalog import load_catalog

OPERATOR, ANN = "operator@example.com", "ann@example.com"
SOON_S = 15.0
SECRET_WORD = "the-word-that-a-tenant-sent"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    kind = load_catalog(MISBEHAVING)["misbehaver", 1]
    database = f"sqlite+aiosqlite:///{tmp_path}/it.db"
    async with open_house(database, catalog={("misbehaver", 1): kind}, facts_seconds=0.01) as opened:
        await opened.accounts.create_account(OPERATOR, PASSWORD, operator=True)
        await opened.accounts.create_account(ANN, PASSWORD)
        yield opened


@pytest.fixture
async def operator(house: House) -> Browser:
    return await house.signed_in(OPERATOR)


def gate_of(house: House) -> Gate:
    return house.app[GATE]


async def facts(browser: Browser) -> dict[str, object]:
    found: dict[str, object] = json.loads((await browser.get("/operator/facts")).text)
    return found


async def let_die(house: House, job: Job) -> None:
    """The job's worker refuses it; returns once its letter is listed."""
    gate = gate_of(house)
    worker = await gate.broker.consume("misbehaver", 1, lambda delivery: delivery.reject(requeue=False))
    await gate.broker.publish(Message("misbehaver", job.encode(), job.id))
    async with asyncio.timeout(SOON_S):
        while job.id not in [letter.id for letter, _ in (await gate.stores.letters.letters(0, 100))[1]]:
            await asyncio.sleep(0.01)
    await worker.stop()


async def test_they_are_there_for_operators_only(house: House, operator: Browser) -> None:
    ann, nobody = await house.signed_in(ANN), await house.browser()
    routes = [route for route in house.app.router.routes() if route.resource and route.resource.canonical.startswith("/operator")]
    assert len(routes) >= 6
    for route in routes:
        assert route.resource is not None
        path = route.resource.canonical.replace("{letter}", "some-letter")
        ask = {"GET": ann.get, "HEAD": ann.get, "POST": ann.post}[route.method]
        assert (await ask(path)).status == 404, path
        visit = {"GET": nobody.get, "HEAD": nobody.get, "POST": nobody.post}[route.method]
        assert (await visit(path)).location.startswith("/login"), path
    assert "Operator" not in (await ann.get("/streams")).text
    assert 'href="/operator"' in (await operator.get("/streams")).text


async def test_they_tell_what_is_so(house: House, operator: Browser) -> None:
    stores = gate_of(house).stores
    stand_ins = {"yunet": "centerface", "person-reidentification": ""}
    served = ServedFacts("misbehaver", 1, "misbehaver", ("centerface",), batch=4, busy=0.25, done=1234, in_hand=2, stand_ins=stand_ins)
    await stores.workers.announce(WorkerFacts("w", "host-7", 4711, "0.1", "cuda", 2, time.time() - 7200, time.time(), (served,)))
    await stores.sessions.number(session_key(TENANT, "misbehaver", 1, "session-name"))
    for path in ("/operator", "/operator/live"):
        text = (await operator.get(path)).text
        for word in (
            "host-7:4711",
            "cuda",
            "centerface (for yunet), no model (for person-reidentification)",
            "25 %",
            "1234",
            "2.0 h",
            "misbehaver",
            "visits",
            "dead_letters",
        ):
            assert word in text, (path, word)
        assert "session-name" not in text
    told = await facts(operator)
    assert told["sessions"] == [{"service": "misbehaver", "version": 1, "alive": 1}]
    assert told["faults"] == []


async def test_a_dead_letter_is_listed_without_what_was_sent(house: House, operator: Browser) -> None:
    job = replace(make_job(mark=SECRET_WORD), files={"attachment://x": SECRET_WORD.encode()})
    await let_die(house, job)
    for path in ("/operator", "/operator/live", "/operator/facts", "/operator/dead-letters"):
        text = (await operator.get(path)).text
        assert job.id in text
        assert TENANT in text
        assert SECRET_WORD not in text
    answer = await operator.get("/operator/dead-letters", headers={"Accept": "application/json"})
    (letter,) = json.loads(answer.text)["dead_letters"]
    assert (letter["id"], letter["service"], letter["reason"], letter["obstacle"]) == (job.id, "misbehaver", "rejected", None)


async def test_requeue_puts_it_back_once(house: House, operator: Browser) -> None:
    job = make_job(mark="m")
    await let_die(house, job)
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    await gate_of(house).broker.consume("misbehaver", 5, arrived.put_nowait)
    await operator.get("/operator")
    answer = await operator.post(f"/operator/dead-letters/{job.id}/requeue")
    assert (answer.status, answer.location) == (303, "/operator?done=requeued")
    page = await operator.get(answer.location)
    assert "The job is back in its queue." in page.text
    assert job.id not in page.text
    delivery = await asyncio.wait_for(arrived.get(), SOON_S)
    delivery.ack()
    assert [type(event) for event in await gate_of(house).stores.results.events(job.id)] == [Requeued]
    again = await operator.post(f"/operator/dead-letters/{job.id}/requeue")
    assert again.status == 404
    assert "There is no such dead letter" in again.text
    assert arrived.empty()


async def test_delete_forgets_it(house: House, operator: Browser) -> None:
    job = make_job()
    await let_die(house, job)
    await operator.get("/operator")
    assert (await operator.post(f"/operator/dead-letters/{job.id}/delete")).location == "/operator?done=deleted"
    assert (await operator.post(f"/operator/dead-letters/{job.id}/delete")).status == 404
    (event,) = await gate_of(house).stores.results.events(job.id)
    assert isinstance(event, Failed)


async def test_what_cannot_be_put_back_says_why_and_has_no_button(house: House, operator: Browser) -> None:
    session = session_key(TENANT, "misbehaver", 1, "s")
    job = make_job(turn=Turn(session, await gate_of(house).stores.sessions.number(session)))
    await let_die(house, job)
    page = await operator.get("/operator")
    assert "It is a frame of a session" in page.text
    assert "/requeue" not in page.text
    answer = await operator.post(f"/operator/dead-letters/{job.id}/requeue")
    assert answer.status == 409
    assert "It is a frame of a session" in answer.text


async def test_a_job_done_after_all_stays_done(house: House, operator: Browser) -> None:
    job = make_job()
    await let_die(house, job)
    results = gate_of(house).stores.results
    await gate_of(house).stores.letters.reopen(job.id, Requeued(time.time()))
    await results.append([Entry(job.id, Failed(time.time(), "cancelled", "by its caller"))])
    await operator.get("/operator")
    answer = await operator.post(f"/operator/dead-letters/{job.id}/requeue")
    assert answer.status == 409
    assert "Its caller cancelled the job" in answer.text


@pytest.mark.parametrize("deed", ["requeue", "delete"])
async def test_nothing_happens_without_the_token_or_from_elsewhere(house: House, operator: Browser, deed: str) -> None:
    job = make_job()
    await let_die(house, job)
    await operator.get("/operator")
    path = f"/operator/dead-letters/{job.id}/{deed}"
    elsewhere = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert (await operator.post(path, headers=elsewhere)).status == 403
    token, operator.token = operator.token, "0" * 64
    assert (await operator.post(path)).status == 403
    assert (await gate_of(house).stores.letters.letters(0, 1))[0] == 1
    operator.token = token
    assert (await operator.post(path)).status == 303


async def test_many_letters_come_page_by_page(house: House, operator: Browser) -> None:
    jobs = [make_job() for _ in range(23)]
    for job in jobs:
        await let_die(house, job)
    page = await operator.get("/operator")
    assert "13 older ones" in page.text
    seen = []
    for start in (0, 10, 20):
        text = (await operator.get(f"/operator/dead-letters?start={start}")).text
        seen += [job.id for job in jobs if job.id in text]
    assert sorted(seen) == sorted(job.id for job in jobs)
    for odd in ("-1", "x", "99999999999999", "1.5"):
        assert (await operator.get(f"/operator/dead-letters?start={odd}")).status == 200


async def test_a_broker_that_is_away_is_told(house: House, operator: Browser) -> None:
    await gate_of(house).broker.close()  # type: ignore[attr-defined]
    page = await operator.get("/operator")
    assert page.status == 200
    assert "The broker was closed" in page.text
    assert "nothing is known of the queues" in page.text
    assert (await facts(operator))["queues"] is None


async def test_what_accounts_used_is_told_by_the_page(house: House, operator: Browser) -> None:
    ann = await house.accounts.check_password(ANN, PASSWORD)
    assert ann is not None
    await house.accounts.ledger.save([DayOfUse(ann.id, "a-stream", day_of(time.time()), 5400)])
    for path in ("/operator", "/operator/usage"):
        text = (await operator.get(path)).text
        for word in (ANN, "developer", "1.5 h", "50 %", "3 h a month"):
            assert word in text, (path, word)
    answer = json.loads((await operator.get("/operator/usage", headers={"Accept": "application/json"})).text)
    assert answer["total"] == 2
    (told,) = [one for one in answer["accounts"] if one["account"] == ANN]
    assert (told["used"], told["allowed"], told["period"], told["scope"]) == (5400, 10800, "month", "account")


async def test_more_accounts_than_a_page_holds(house: House, operator: Browser) -> None:
    emails = [f"more-{number}@example.com" for number in range(20)]
    rows = [AccountRow(id=email[:36], email=email, email_key=email, password_hash="", plan="developer", operator=False) for email in emails]
    async with house.accounts.database.writing() as session:  # without twenty passwords to hash
        session.add_all(rows)
    await asyncio.sleep(0.02)  # what is remembered grows too old
    assert "2 more accounts" in (await operator.get("/operator")).text
    second = (await operator.get("/operator/usage?page=2")).text
    first = (await operator.get("/operator/usage")).text
    assert all((f">{email}<" in first) != (f">{email}<" in second) for email in (*emails, ANN))  # each once
    assert "21 to 22 here" in second
    for odd in ("0", "-1", "x", "999999", "99999999999"):
        assert (await operator.get(f"/operator/usage?page={odd}")).status == 200
