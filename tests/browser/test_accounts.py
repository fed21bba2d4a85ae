"""From nothing to a job with one's own credentials, as a newcomer does it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Page, expect

from tests.browser.screens import Shots, assert_accessible, sign_in
from tests.integration.processes import Process, System
from tests.needs import needs

PASSWORD = "correct horse"


def register(page: Page, url: str, email: str) -> None:
    page.goto(f"{url}/register")
    page.get_by_label("Your email").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("status")).to_contain_text("sign in with the password")


def look_at(page: Page, shots: Shots, name: str) -> None:
    assert_accessible(page)
    shots.take(page, name)


def paste(page: Page, words: list[str], title: str, folder: Path, tail: str = "") -> str:
    """Copy the lines with this title and run them; what they print."""
    page.get_by_role("button", name=f"Copy {title}").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    lines = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run([*words, lines + tail], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    expect(page.get_by_role("button", name="Copied")).to_be_hidden()
    return done.stdout


def wait_until_use_is_seen(page: Page) -> None:
    """What jobs used is in the database a moment later."""
    until = time.monotonic() + 20
    while float(page.get_by_role("progressbar").get_attribute("value") or 0) < 1:
        assert time.monotonic() < until, "no use is seen"
        page.reload()


@needs("curl")
def test_from_registering_to_jobs_with_the_copied_lines(page: Page, url: str, shots: Shots, tmp_path: Path) -> None:
    page.goto(url)
    look_at(page, shots, "front")
    page.get_by_role("link", name="Create account").click()
    look_at(page, shots, "register")
    register(page, url, "ann@example.com")
    look_at(page, shots, "login")
    sign_in(page, url, "ann@example.com", PASSWORD)
    look_at(page, shots, "streams-empty")
    page.get_by_role("link", name="Add your first stream").click()
    look_at(page, shots, "stream-new")
    page.get_by_label("Stream name").fill("Store #2")
    page.get_by_role("button", name="Create stream").click()
    look_at(page, shots, "stream")
    page.get_by_role("link", name="Show details").click()
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.full((64, 64, 3), 128, np.uint8))
    assert '"echo":"Hello world!"' in paste(page, ["sh", "-c"], "Try the connection", tmp_path, " -s")
    assert '"nb_faces":0' in paste(page, ["sh", "-c"], "Faces in a photograph, with curl", tmp_path, " -s")
    assert "'nb_faces': 0" in paste(page, [sys.executable, "-c"], "The same in Python", tmp_path)
    look_at(page, shots, "stream-details")
    page.get_by_role("link", name="Streams", exact=True).first.click()
    wait_until_use_is_seen(page)
    look_at(page, shots, "streams")
    page.get_by_role("link", name="ann@example.com").click()
    look_at(page, shots, "account")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/login$"))


def test_without_scripts_everything_is_there(instance: tuple[System, Process], page: Page) -> None:
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False)
    plain, url = context.new_page(), instance[1].url
    register(plain, url, "bob@example.com")
    sign_in(plain, url, "bob@example.com", PASSWORD)
    plain.get_by_role("link", name="Add your first stream").click()
    plain.get_by_label("Stream name").fill("Door")
    plain.get_by_role("button", name="Create stream").click()
    plain.get_by_role("link", name="Show details").click()
    expect(plain.get_by_role("group", name="Login (client_id)")).to_have_text(re.compile(r"^[0-9a-f-]{36}$"))
    assert plain.get_by_role("button", name="Copy").count() == 0
    context.close()


def test_the_theme_can_be_chosen_and_stays(page: Page, url: str) -> None:
    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.emulate_media(color_scheme="light")
    page.goto(url)
    light = background()
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = background()
    assert dark != light
    page.goto(f"{url}/login")
    assert background() == dark
    page.get_by_role("button", name="Switch between light and dark").click()
    assert background() == light


def test_pages_can_be_used_with_the_keyboard_alone(page: Page, url: str) -> None:
    page.goto(url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.goto(f"{url}/register")
    expect(page.get_by_label("Your email")).to_be_focused()
    for text in ("carl@example.com", PASSWORD, PASSWORD):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/login"))


def test_errors_are_pages(page: Page, url: str, shots: Shots) -> None:
    answer = page.goto(f"{url}/nowhere")
    assert answer is not None
    assert answer.status == 404
    look_at(page, shots, "error")
