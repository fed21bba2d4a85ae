"""What tests do with a page in a real browser: pictures of it, and what axe says about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.integration.processes import ROOT

IMAGES = ROOT / "docs" / "images"
#: Set to keep the pictures in `docs/images`.
KEEP = "SENSORIUM_TEST_IMAGES"
DESKTOP = (1280, 800)
PHONE = (390, 844)
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_QUALITY = 82


class Shots:
    """Pictures of pages: light and dark, on a desktop and on a phone. Taken when they are to be kept; what fits is looked at always."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or (IMAGES if os.environ.get(KEEP) else None)

    def take(self, page: Page, name: str) -> None:
        """``NAME-light-desktop.webp`` and its three sisters. The page is left as it was, and nothing of it may reach beyond its width."""
        for device, (width, height) in (("desktop", DESKTOP), ("phone", PHONE)):
            page.set_viewport_size({"width": width, "height": height})
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} is {wide} pixels wide on a {device}"
            if self._folder is not None:
                self._keep(page, self._folder, f"{name}-{{}}-{device}.webp")
        page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        page.emulate_media(color_scheme="light")

    def _keep(self, page: Page, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for scheme in _SCHEMES:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            picture = cv2.imdecode(np.frombuffer(page.screenshot(full_page=True), np.uint8), cv2.IMREAD_COLOR)
            cv2.imwrite(str(folder / name.format(scheme)), picture, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])


def assert_accessible(page: Page) -> None:
    """No serious or critical violation of WCAG as far as axe can tell, in either theme."""
    for scheme in _SCHEMES:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page).response["violations"]
        grave = [f"{one['id']}: {node['html'][:200]}" for one in found if one["impact"] in ("serious", "critical") for node in one["nodes"]]
        assert not grave, (scheme, page.url, grave)


def sign_in(page: Page, url: str, email: str, password: str) -> None:
    """Through the form, until the first page of the account is there."""
    page.goto(f"{url}/login")
    page.get_by_label("Your email").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
