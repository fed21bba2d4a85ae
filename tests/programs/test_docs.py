"""The documents for integrators: their programs run, their examples are those of today's server, their links lead somewhere."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import ROOT
from tests.programs.conftest import Instance
from tools import api_page, errors_page

DOCS = ROOT / "docs"
PROGRAMS = ("docs/getting-started.md", "docs/sessions-and-streams.md", "docs/errors.md", "sdk/README.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: A program begins by importing what it needs; what does not is a part of one, and is shown for its words.
PYTHON = [
    pytest.param(name, text, id=f"{name}-{number}")
    for name in PROGRAMS
    for number, (language, text) in enumerate(BLOCK.findall((ROOT / name).read_text()))
    if language == "python" and text.startswith("import ")
]


@pytest.mark.parametrize(("name", "text"), PYTHON)
def test_a_document_s_program_runs(instance: Instance, tmp_path: Path, name: str, text: str) -> None:
    shutil.copy(instance.things / "photo.jpg", tmp_path)
    (tmp_path / "program.py").write_text(text)
    said = instance.run(tmp_path, "program.py")
    if "nb_faces" in text and "session" in text:
        assert [line.split()[0] for line in said.splitlines()] == ["0", "0", "0", "1", "1"]
    elif "hi.wav" in text:
        assert (tmp_path / "hi.wav").read_bytes()[:4] == b"RIFF"
    else:
        assert said.strip()


def test_every_document_has_programs() -> None:
    assert {parameters.values[0] for parameters in PYTHON} == set(PROGRAMS)


def shape(value: Any) -> Any:
    """The keys of a document, in all its depth, without its values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        shapes = [shape(inner) for inner in value if isinstance(inner, dict)]
        return [one for number, one in enumerate(shapes) if one not in shapes[:number]]  # how many there are is a value
    return "…"


def without_values(page: str) -> str:
    return BLOCK.sub(lambda found: json.dumps(shape(json.loads(found[2])), indent=1) if found[1] == "json" else found[0], page)


@pytest.mark.models
def test_the_examples_are_those_of_today(instance: Instance) -> None:
    """Else: `make docs-api`."""
    with api_page.client_of(instance.url) as client:
        today = api_page.page(client)
    assert without_values(api_page.PAGE.read_text()) == without_values(today)


def test_a_changed_key_is_noticed() -> None:
    page = '```json\n{"faces": [{"roi": [1, 2]}]}\n```\n'
    assert without_values(page) == without_values(page.replace("[1, 2]", "[3, 4]"))
    assert without_values(page) != without_values(page.replace("roi", "box"))


def test_the_table_of_errors_is_that_of_today() -> None:
    """Else: `make docs-api`."""
    page = errors_page.PAGE.read_text()
    assert errors_page.with_table(page) == page


LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


@pytest.mark.parametrize(
    "path", [*sorted(DOCS.glob("*.md")), *(ROOT / name for name in ("README.md", "sdk/README.md", "examples/README.md"))]
)
def test_links_lead_somewhere(path: Path) -> None:
    linked = [link for link, _ in LINK.findall(path.read_text()) if not link.startswith(("http:", "https:", "mailto:"))]
    assert not [link for link in linked if not (path.parent / link).exists()]
