"""The API reference in a real browser: nothing from elsewhere, nothing against its own policy, and requests can be tried out."""

from __future__ import annotations

import json

from playwright.sync_api import Browser, expect

from tests.integration.conftest import DEMO


def test_the_reference_shows_the_services_and_tries_them_out(chromium: Browser, url: str) -> None:
    complaints: list[str] = []
    hosts: set[str] = set()
    context = chromium.new_context(http_credentials={"username": DEMO[0], "password": DEMO[1]}, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if request.url.startswith("http") else None)
    page.goto(f"{url}/docs")
    for service in ("dummy", "qrcode_decoder", "face_detection"):
        expect(page.locator(f"#operations-tag-{service}")).to_be_visible(timeout=30_000)
    page.locator("#operations-tag-dummy").click()
    page.locator("#operations-dummy-create_dummy_1").click()
    page.get_by_role("button", name="Try it out").click()
    page.locator("#operations-dummy-create_dummy_1 textarea").fill('{"echo": "from a page", "async": false}')
    page.get_by_role("button", name="Execute").click()
    answer = page.locator(".live-responses-table .highlight-code code").first
    expect(answer).to_contain_text("from a page", timeout=20_000)
    assert json.loads(answer.inner_text())["status"] == 201
    assert not complaints
    assert hosts == {url.split("/")[2]}
    context.close()


def test_a_form_offers_the_file_of_a_service(chromium: Browser, url: str) -> None:
    context = chromium.new_context(http_credentials={"username": DEMO[0], "password": DEMO[1]})
    page = context.new_page()
    page.goto(f"{url}/docs#/qrcode_decoder/create_qrcode_decoder_1")
    operation = page.locator("#operations-qrcode_decoder-create_qrcode_decoder_1")
    operation.get_by_role("button", name="Try it out").click(timeout=30_000)
    operation.locator("select[aria-label='Request content type'], .body-param-content-type select").first.select_option(
        "multipart/form-data"
    )
    expect(operation.locator("input[type=file]")).to_have_count(1)
    context.close()


def test_without_credentials_there_is_no_page(chromium: Browser, url: str) -> None:
    context = chromium.new_context()
    answer = context.request.get(f"{url}/docs")
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    context.close()
