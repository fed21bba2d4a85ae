"""What others use is explained where it is written, and nothing is offered that does nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import PerceptionError, error_types
from shared.settings import Settings
from tests.house.test_limits import ROOT, Function, lines, modules, where

PACKAGES = ("accounts", "analytics", "console", "database", "embedded", "gateway", "models", "sensorium", "shared", "webhooks", "workers")
#: A function of so many lines may be said by its name.
SAID_BY_NAME_LINES = 5


def product() -> Iterator[tuple[Path, ast.Module]]:
    """Every module that runs in production, migrations left out: they are written by a command."""
    for path, module in modules().items():
        parts = path.relative_to(ROOT).parts
        if parts[0] in PACKAGES and "migrations" not in parts:
            yield path, module


def is_explained(node: Function | ast.ClassDef) -> bool:
    if ast.get_docstring(node):
        return True
    if isinstance(node, Function):
        return lines(node) <= SAID_BY_NAME_LINES
    return is_explained_by_its_fields(node)


def is_explained_by_its_fields(noun: ast.ClassDef) -> bool:
    """A class that consists of fields, each with its description."""
    fields = [node for node in noun.body if isinstance(node, ast.AnnAssign)]
    others = [node for node in noun.body if not isinstance(node, ast.AnnAssign | ast.Assign | ast.Pass)]
    return not others and all(is_described(field) for field in fields)


def is_described(field: ast.AnnAssign) -> bool:
    return any(isinstance(node, ast.keyword) and node.arg == "description" for node in ast.walk(field))


def test_every_module_says_what_it_is_for() -> None:
    assert not [str(path.relative_to(ROOT)) for path, module in product() if module.body and not ast.get_docstring(module)]


def test_everything_public_is_explained() -> None:
    public = [
        (path, node)
        for path, module in product()
        for node in module.body
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert len(public) > 100, "the packages were not found"
    unexplained = [where(path, node) for path, node in public if not is_explained(node)]
    assert not unexplained


@pytest.mark.parametrize(
    ("source", "explained"),
    [
        ("def f():\n    pass", True),
        ("def f():\n    a\n    b\n    c\n    d\n    e", False),
        ("def f():\n    'Why.'\n    a\n    b\n    c\n    d\n    e", True),
        ("class C:\n    'Why.'\n    def m(self): ...", True),
        ("class C:\n    def m(self): ...", False),
        ("class C(B):\n    a: int = Field(description='A.')\n    omit_none = True", True),
        ("class C(B):\n    a: int = Field(description='A.')\n    b: int = 0", False),
    ],
)
def test_what_is_explained_is_recognised(source: str, explained: bool) -> None:
    node = ast.parse(source).body[0]
    assert isinstance(node, Function | ast.ClassDef)
    assert is_explained(node) == explained


def attributes_of_settings() -> Iterator[str]:
    """What the code reads from the settings, or from limits, which are named like them; and what the settings read from themselves."""
    for path, module in product():
        owners = {"settings", "_settings", "limits", "_limits"} | ({"self"} if path == ROOT / "shared" / "settings.py" else set())
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute) and name_of(node.value) in owners:
                yield node.attr


def name_of(node: ast.expr) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def test_every_setting_does_something() -> None:
    idle = sorted(set(Settings.model_fields) - set(attributes_of_settings()))
    assert not idle


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described_in_one_line(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description
    assert description[0].isupper() or description.split()[0] in ("json",)
    assert "\n" not in description
    assert not description.endswith(".")


def test_every_error_is_explained_by_its_docstring_and_has_a_code_of_its_own() -> None:
    kinds: list[type[PerceptionError]] = []
    waiting = list(PerceptionError.__subclasses__())
    while waiting:
        kinds.append(waiting.pop())
        waiting += kinds[-1].__subclasses__()
    ours = [kind for kind in kinds if kind.__module__ == "shared.errors"]
    assert sorted(error_types()) == sorted(kind.code for kind in ours)
    assert all((kind.__doc__ or "").strip().endswith(".") for kind in ours)
