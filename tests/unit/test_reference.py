"""The files of the reference page are the package's, and nothing on it comes from elsewhere."""

from __future__ import annotations

import gzip
import re
from hashlib import sha256

import pytest

from gateway.routes.reference import FOLDER, PACKAGE, SOURCES
from tests.house.test_limits import ROOT


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_is_what_the_package_has(name: str) -> None:
    assert sha256(gzip.decompress((FOLDER / f"{name}.gz").read_bytes())).hexdigest() == SOURCES[name]


def test_there_is_nothing_else_of_it_and_the_licence_is_named() -> None:
    stored = {path.name for path in FOLDER.iterdir()}
    assert stored == {f"{name}.gz" for name in SOURCES} | {"page.html", "page.js", "swagger-ui-bundle.js.LICENSE.txt"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 600_000
    assert PACKAGE in (ROOT / "NOTICE").read_text()


def test_the_page_is_without_scripts_and_styles_of_its_own() -> None:
    page = (FOLDER / "page.html").read_text()
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', page)) == {
        "data:,",
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
        "/docs/page.js",
        "/openapi.json",
    }
