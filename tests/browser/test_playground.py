"""The playground in a real browser: a picture dropped, a webcam streamed, a line that does the same in a terminal."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import cv2
import pytest
import qrcode
from playwright.sync_api import Page, Route, expect
from skimage.data import astronaut

from tests.browser.conftest import DEMO_PASSWORD
from tests.browser.screens import Shots, assert_accessible, sign_in
from tests.needs import needs

_DURATION = """() => new Promise((resolve) => {
  const audio = document.getElementById("audio");
  const tell = () => resolve(audio.duration);
  if (audio.readyState > 0) tell();
  else audio.addEventListener("loadedmetadata", tell);
})"""


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "astronaut.jpg"
    cv2.imwrite(str(path), cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture
def playground(page: Page, url: str) -> Page:
    sign_in(page, url, "demo@example.com", DEMO_PASSWORD)
    page.goto(f"{url}/playground")
    expect(page.locator("#drop")).to_be_visible()  # the first service is described
    return page


def answer_of(page: Page) -> dict[str, object]:
    found: dict[str, object] = json.loads(page.locator("#answer").inner_text())
    return found


def answered(page: Page, least: int) -> None:
    """Until so many frames of the stream are answered (at most nine)."""
    expect(page.locator("#said")).to_have_attribute("data-answers", re.compile(rf"^([{least}-9]|\d\d+)$"))


def pixel(page: Page, x: int, y: int) -> list[int]:
    found: list[int] = page.evaluate(f"[...document.getElementById('canvas').getContext('2d').getImageData({x}, {y}, 1, 1).data]")
    return found


@needs("curl")
def test_a_picture_its_answer_and_the_line_for_it(playground: Page, photograph: Path, shots: Shots) -> None:
    playground.locator("#file").set_input_files(photograph)
    expect(playground.locator("#summary")).to_contain_text("1 face")
    x, y, _, height = answer_of(playground)["faces"][0]["roi"]  # type: ignore[index]
    plain = astronaut()[y + height // 2, x].tolist()
    drawn = pixel(playground, x, y + height // 2)
    assert sum(abs(a - b) for a, b in zip(plain, drawn, strict=False)) > 60, "the box is drawn over the picture"
    line = playground.locator("#line").inner_text()
    done = subprocess.run(["sh", "-c", f"{line} -s"], cwd=photograph.parent, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["faces"] == answer_of(playground)["faces"]
    assert_accessible(playground)
    shots.take(playground, "playground")


@needs("curl")
def test_other_services_and_what_they_say(playground: Page, tmp_path: Path) -> None:
    playground.locator("#service").select_option("dummy/1")
    playground.get_by_label("echo").fill("<b>it's me</b>")
    playground.get_by_role("button", name="Try it").click()
    expect(playground.locator("#summary")).to_have_text("<b>it's me</b>")
    done = subprocess.run(["sh", "-c", f"{playground.locator('#line').inner_text()} -s"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["echo"] == "<b>it's me</b>"
    code = tmp_path / "code.png"
    qrcode.make("https://example.com/<script>").save(str(code))
    playground.locator("#service").select_option("qrcode_decoder/1")
    expect(playground.locator("#drop")).to_be_visible()
    playground.locator("#file").set_input_files(code)
    expect(playground.locator("#summary")).to_contain_text("https://example.com/<script>")


def test_what_is_typed_stays_when_an_earlier_choice_of_a_service_ends_late(page: Page, url: str) -> None:
    sign_in(page, url, "demo@example.com", DEMO_PASSWORD)
    held: list[Route] = []
    page.route("**/access", lambda route: held.append(route))  # noqa: PLW0108 - a built-in method is no handler for it
    with page.expect_request("**/access"):
        page.goto(f"{url}/playground")
    page.locator("#service").select_option("dummy/1")  # the service that the page began with is not described yet
    held[0].continue_()
    page.get_by_label("echo").fill("typed")
    for route in held[1:]:
        route.continue_()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_label("echo")).to_have_value("typed")


def test_whoever_is_quicker_than_the_description_of_a_service_waits_for_its_fields(page: Page, url: str) -> None:
    sign_in(page, url, "demo@example.com", DEMO_PASSWORD)
    held: list[Route] = []
    page.route("**/access", lambda route: held.append(route))  # noqa: PLW0108 - a built-in method is no handler for it
    with page.expect_request("**/access"):
        page.goto(f"{url}/playground?service=text_to_speech")
    page.get_by_role("button", name="Try it").click()
    for route in held:
        route.continue_()
    expect(page.locator("#audio")).to_be_visible(timeout=60_000)


def test_a_description_that_could_not_be_had_is_asked_for_again(page: Page, url: str) -> None:
    sign_in(page, url, "demo@example.com", DEMO_PASSWORD)
    page.route("**/access", lambda route: route.fulfill(status=429), times=1)
    page.goto(f"{url}/playground?service=text_to_speech")
    expect(page.locator("#said")).to_have_class("notice bad")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("#audio")).to_be_visible(timeout=60_000)


def test_what_is_refused_is_said(playground: Page, tmp_path: Path) -> None:
    no_picture = tmp_path / "notes.jpg"
    no_picture.write_text("not a picture")
    playground.locator("#file").set_input_files(no_picture)
    expect(playground.locator("#said")).to_have_class("notice bad")
    playground.get_by_role("button", name="Try it").click()
    expect(playground.locator("#said")).not_to_be_empty()


def test_a_webcam_over_the_stream(playground: Page) -> None:
    playground.locator("#service").select_option("motion_detection/1")
    live = playground.get_by_role("button", name="Use the webcam")
    live.click()
    answered(playground, 5)
    assert answer_of(playground)["stream"]["frame"] >= 5  # type: ignore[index]
    assert playground.evaluate("document.getElementById('canvas').width") > 100
    playground.get_by_role("button", name="Stop").click()
    expect(playground.locator("#said")).to_have_text("Stopped")


def test_speech_is_heard(url: str, page: Page, instance: tuple[object, object]) -> None:
    sign_in(page, url, "demo@example.com", DEMO_PASSWORD)
    page.goto(f"{url}/playground?service=text_to_speech")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("#audio")).to_be_visible(timeout=60_000)  # the first sentence waits for the dictionaries of the voice
    assert page.evaluate(_DURATION) > 1


def test_a_microphone_over_the_stream(url: str, page: Page) -> None:
    sign_in(page, url, "demo@example.com", DEMO_PASSWORD)
    page.goto(f"{url}/playground?service=sound_detection")
    page.get_by_role("button", name="Use the microphone").click()
    answered(page, 2)
    assert answer_of(page)["input_size"] == 8192
