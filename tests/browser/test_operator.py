"""An operator looks at a system in which jobs wait too long, and puts one of them back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from accounts.model import DEMO_EMAIL, DEMO_SECRET
from tests.browser.conftest import DEMO_PASSWORD
from tests.browser.screens import Shots, assert_accessible, sign_in
from tests.integration.processes import Process, System, poll_job, post_job, running_system

SOON_MS = 20_000
BUSY_SECONDS = 6


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, chromium_path: str) -> Iterator[tuple[System, Process]]:
    """A system whose one thread is soon taken, and whose jobs do not wait for long."""
    settings = {
        "DEMO_PASSWORD": DEMO_PASSWORD,
        "DEADLINE_SECONDS": "2",
        "PREFETCH": "1",
        "MODEL_THREADS": "1",
        "FACTS_SECONDS": "0.5",
        "ANNOUNCE_SECONDS": "0.5",
    }
    with running_system(tmp_path_factory.mktemp("operator"), settings) as system:
        system.credentials = (DEMO_SECRET.client_id, DEMO_SECRET.access_token)
        process = system.start("up", "misbehaver", "dummy")
        run(process.ready())
        system.run("account", "operator", DEMO_EMAIL)
        yield system, process


def run(work: Any) -> Any:
    """Playwright has an event loop in this thread already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work)).result()


async def send(system: System, process: Process, count: int) -> list[str]:
    """One job that takes the thread, and so many that wait for it; the addresses of those that wait."""
    async with system.client(process) as client:
        await post_job(client, "misbehaver", {"deed": "sleep", "seconds": BUSY_SECONDS})
        answers = [await post_job(client, "misbehaver", {"mark": f"sent-{number}"}) for number in range(count)]
    return [document["url"] for _, document in answers]


async def end_of(system: System, process: Process, url: str) -> dict[str, Any]:
    async with system.client(process) as client:
        return await poll_job(client, url)


def test_a_dead_letter_is_seen_as_it_comes_and_put_back(watched: tuple[System, Process], page: Page, shots: Shots) -> None:
    system, process = watched
    sign_in(page, process.url, DEMO_EMAIL, DEMO_PASSWORD)
    page.get_by_role("link", name="Operator").click()
    expect(page.get_by_role("region", name="Dead letters")).to_contain_text("None.")
    assert_accessible(page)
    shots.take(page, "operator-quiet")

    urls = run(send(system, process, 3))
    queue = page.get_by_role("row", name=re.compile("^misbehaver")).first
    expect(queue).to_contain_text("1")
    workers = page.get_by_role("table", name="Workers")
    expect(workers).to_contain_text("100 %", timeout=SOON_MS)
    letters = page.get_by_role("table", name="Dead letters")
    expect(letters.get_by_role("button", name="Requeue")).to_have_count(3, timeout=SOON_MS)  # without a reload
    expect(page.get_by_role("table", name="Usage")).to_contain_text(DEMO_EMAIL)
    assert "sent-" not in page.content()
    assert_accessible(page)
    shots.take(page, "operator")

    assert run(end_of(system, process, urls[0]))["code"] == "deadline_exceeded"
    expect(workers).not_to_contain_text("100 %", timeout=SOON_MS)  # the thread is free again
    job = urls[0].rpartition("/")[2]
    page.get_by_role("button", name=f"Requeue {job}").click()
    expect(page.get_by_text("The job is back in its queue.")).to_be_visible()
    done = run(end_of(system, process, urls[0]))
    assert (done["status"], done["mark"]) == (200, "sent-0")
    expect(letters.get_by_role("button", name="Requeue")).to_have_count(2)

    page.get_by_role("button", name=f"Delete {urls[1].rpartition('/')[2]}").click()
    expect(page.get_by_text("The dead letter is deleted.")).to_be_visible()
    expect(letters.get_by_role("button", name="Requeue")).to_have_count(1)
    assert run(end_of(system, process, urls[1]))["code"] == "deadline_exceeded"


def test_further_pages_can_be_looked_at(watched: tuple[System, Process], page: Page, shots: Shots) -> None:
    sign_in(page, watched[1].url, DEMO_EMAIL, DEMO_PASSWORD)
    for name in ("usage", "dead-letters"):
        page.goto(f"{watched[1].url}/operator/{name}")
        assert_accessible(page)
        shots.take(page, f"operator-{name}")


def test_it_can_be_paused_and_told_when_nobody_answers(watched: tuple[System, Process], page: Page) -> None:
    sign_in(page, watched[1].url, DEMO_EMAIL, DEMO_PASSWORD)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/live") else None)
    page.goto(f"{watched[1].url}/operator")
    with page.expect_response("**/operator/live"):
        pass
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused")).to_be_visible()
    page.wait_for_timeout(300)  # an answer that was under way
    before = len(asked)
    page.wait_for_timeout(3000)  # the time in which another question would be asked
    assert len(asked) == before
    page.route("**/operator/live", lambda route: route.fulfill(status=429, body=""))
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("No answer; trying again")).to_be_visible()
    page.unroute("**/operator/live")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_a_button_in_use_stays_where_it_is(watched: tuple[System, Process], page: Page) -> None:
    system, process = watched
    sign_in(page, process.url, DEMO_EMAIL, DEMO_PASSWORD)
    run(send(system, process, 1))
    page.goto(f"{process.url}/operator")
    dead = page.get_by_text("Dead letters").locator("xpath=following-sibling::dd").first
    buttons = page.get_by_role("table", name="Dead letters").get_by_role("button", name="Requeue")
    expect(buttons.first).to_be_visible(timeout=SOON_MS)
    buttons.first.focus()
    there = buttons.count()
    expect(dead).to_have_text(str(there))
    run(send(system, process, 1))
    expect(dead).not_to_have_text(str(there), timeout=SOON_MS)
    expect(buttons.first).to_be_focused()
    assert buttons.count() == there
    page.get_by_role("button", name="Pause").focus()
    expect(buttons).not_to_have_count(there, timeout=SOON_MS)


def test_without_scripts_it_can_be_used(watched: tuple[System, Process], page: Page) -> None:
    system, process = watched
    (url,) = run(send(system, process, 1))
    assert run(end_of(system, process, url))["code"] == "deadline_exceeded"
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    sign_in(plain, process.url, DEMO_EMAIL, DEMO_PASSWORD)
    plain.goto(f"{process.url}/operator")
    assert plain.get_by_role("button", name="Pause").count() == 0
    plain.get_by_role("button", name=f"Delete {url.rpartition('/')[2]}").click()
    expect(plain.get_by_text("The dead letter is deleted.")).to_be_visible()
    context.close()
