"""A real browser before a whole Sensorium in one process. Without Chromium these tests are skipped at home, and an error in CI."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.screens import Shots
from tests.conftest import ABSENT
from tests.integration.processes import Process, System, running_system

_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
DEMO_PASSWORD = "correct horse battery"
PATIENCE_MS = 30_000  # two lanes of tests beside it may keep the processors busy


@pytest.fixture(scope="session")
def chromium_path() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip(f"{ABSENT}chromium is not installed (Debian: apt install chromium)")
    return path


@pytest.fixture(scope="module")
def chromium(chromium_path: str) -> Iterator[Browser]:
    """A module's browser. Playwright keeps an event loop running in this thread, so modules with it have no asynchronous tests, and it ends with them."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory, chromium_path: str) -> Iterator[tuple[System, Process]]:
    """A running Sensorium with every service that starts at once, and the system for further commands (`System.run`)."""
    folder: Path = tmp_path_factory.mktemp("browser")
    settings = {
        "DEMO_PASSWORD": DEMO_PASSWORD,
        "GUESSES_PER_ADDRESS": "1000",
        "REGISTRATIONS_PER_ADDRESS": "1000",
        "USAGE_SAVE_SECONDS": "0.5",
    }
    with running_system(folder, settings) as system:
        process = system.start(
            "up", "dummy", "qrcode_decoder", "motion_detection", "face_detection", "scene_analysis", "text_to_speech", "sound_detection"
        )
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(process.ready())).result()
        yield system, process


@pytest.fixture
def url(instance: tuple[System, Process]) -> str:
    return instance[1].url


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[[], Page]]:
    """Opens pages of a browser without cookies. What a page complains about (its own policy, its scripts) fails the test."""
    complaints: list[str] = []
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(PATIENCE_MS)

    def open_one() -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" and not _is_of_a_status(said.text) else None)
        return page

    yield open_one
    context.close()
    assert not complaints


def _is_of_a_status(text: str) -> bool:
    """Chromium tells of every answer from 400 on, which tests ask for."""
    return text.startswith("Failed to load resource: the server responded with a status of 4")


@pytest.fixture
def page(open_page: Callable[[], Page]) -> Page:
    return open_page()


@pytest.fixture
def shots() -> Shots:
    return Shots()
