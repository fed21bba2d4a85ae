"""The house's limits, measured: sizes, words that do not belong here, and files that are written by a command."""

from __future__ import annotations

import ast
import operator
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES = 400
FUNCTION_LINES = 50
MEDIAN_FUNCTION_LINES = 10
CONSTRUCTOR_PARAMETERS = 7
PORT_METHODS = 5
CLASS_METHODS = 12
CLASS_ATTRIBUTES = 10

Function = ast.FunctionDef | ast.AsyncFunctionDef

#: Classes that are larger than they may be, with their methods and attributes. There shall be no further one.
LARGE_CLASSES = {
    # its fields are how sessions are stored
    "workers/scene/person.py Person": (11, 16),
}
#: Folders of what does not run in production.
BESIDE_THE_PRODUCT = ("bench", "examples", "tests", "tools")

# Each with what is wrong about it. This file and lock files, which hold nothing but digests, are not looked through.
FORBIDDEN = {
    re.compile(r"\bissues?\s+#?\d", re.IGNORECASE): "an issue number means nothing to a reader of the code",
    re.compile(r"\bissue\s*#", re.IGNORECASE): "an issue number means nothing to a reader of the code",
    re.compile(r"(?<![\w.<>{}$-])/work(?![\w-])"): "a path of one machine",
    re.compile(r"\.\./shared\b"): "a path of one machine",
    re.compile(r"pypi\.org|pythonhosted\.org|npmjs\.org|deb\.debian\.org"): "a package registry's host; name the package instead",
}
UNSEARCHED = {"tests/house/test_limits.py", "requirements.lock", "requirements-dev.lock"}


@cache
def project_files() -> tuple[Path, ...]:
    """Every file that is in the repository or would be added to it."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    words = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return tuple(ROOT / name for name in names if name and (ROOT / name).is_file())


@cache
def modules() -> dict[Path, ast.Module]:
    """Every Python file, parsed."""
    found = {path: ast.parse(path.read_text()) for path in project_files() if path.suffix == ".py"}
    assert len(found) > 20, "the project's files were not found"
    return found


def functions() -> Iterator[tuple[Path, Function]]:
    for path, module in modules().items():
        for node in ast.walk(module):
            if isinstance(node, Function):
                yield path, node


def lines(function: Function) -> int:
    """From `def` to the last line, docstring included, decorators not."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def where(path: Path, node: Function | ast.ClassDef) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_no_file_is_long() -> None:
    long = {str(path.relative_to(ROOT)): count for path in modules() if (count := len(path.read_text().splitlines())) > FILE_LINES}
    assert not long


def test_no_function_is_long() -> None:
    long = {where(path, function): lines(function) for path, function in functions() if lines(function) > FUNCTION_LINES}
    assert not long


def test_most_functions_are_short() -> None:
    assert statistics.median(lines(function) for _, function in functions()) <= MEDIAN_FUNCTION_LINES


def test_no_constructor_takes_much() -> None:
    def parameters(function: Function) -> int:
        taken = function.args
        return len(taken.posonlyargs) + len(taken.args) + len(taken.kwonlyargs) - 1  # not self

    greedy = {
        where(path, function): parameters(function)
        for path, function in functions()
        if function.name == "__init__" and parameters(function) > CONSTRUCTOR_PARAMETERS
    }
    assert not greedy


def test_no_class_is_large() -> None:
    """A class that has shrunk is written down anew, or struck out, so that it does not grow again."""
    assert large_classes() == LARGE_CLASSES


def large_classes() -> dict[str, tuple[int, int]]:
    sizes = {
        f"{path.relative_to(ROOT)} {node.name}": (len(methods(node)), len(attributes(node)))
        for path, module in modules().items()
        if path.relative_to(ROOT).parts[0] not in BESIDE_THE_PRODUCT
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
    }
    most = CLASS_METHODS, CLASS_ATTRIBUTES
    return {name: size for name, size in sizes.items() if any(map(operator.gt, size, most))}


def methods(node: ast.ClassDef) -> list[str]:
    return [child.name for child in node.body if isinstance(child, Function)]


def attributes(node: ast.ClassDef) -> set[str]:
    """What its methods assign to ``self``."""
    return {
        target.attr
        for child in ast.walk(node)
        if isinstance(child, ast.Assign | ast.AnnAssign)
        for target in assigned(child)
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"
    }


def assigned(statement: ast.Assign | ast.AnnAssign) -> Iterator[ast.expr]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    for target in targets:
        yield from target.elts if isinstance(target, ast.Tuple) else [target]


def test_attributes_are_counted_once() -> None:
    text = "class A:\n def f(self):\n  self.a, other.b = self.c = 1, 2\n  self.a: int = 3\n  self.d += 1"
    (node,) = ast.parse(text).body
    assert isinstance(node, ast.ClassDef)
    assert (methods(node), attributes(node)) == (["f"], {"a", "c"})


def test_no_port_is_wide() -> None:
    path = ROOT / "shared" / "ports.py"
    ports = {node: public_methods(node) for node in modules()[path].body if isinstance(node, ast.ClassDef)}
    assert any(ports.values()), "no port was found"
    assert not {where(path, port): methods for port, methods in ports.items() if len(methods) > PORT_METHODS}


def public_methods(port: ast.ClassDef) -> list[str]:
    return [node.name for node in port.body if isinstance(node, Function) and not node.name.startswith("_")]


def test_nothing_speaks_of_where_it_was_written() -> None:
    assert not list(forbidden_words())


def forbidden_words() -> Iterator[str]:
    for path in project_files():
        name = path.relative_to(ROOT).as_posix()
        content = path.read_bytes()
        if name in UNSEARCHED or b"\0" in content:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            for pattern, reason in FORBIDDEN.items():
                if found := pattern.search(line):
                    yield f"{name}:{number} {found[0]!r}: {reason}"


@pytest.mark.parametrize("line", ["see issue #12", "Issue 3 says", "cd /work/main", "'/work'", "cp ../shared/models ."])
def test_forbidden_words_are_recognised(line: str) -> None:
    assert any(pattern.search(line) for pattern in FORBIDDEN)


@pytest.mark.parametrize(
    "line", ["import workers", "/workers/models", "an issue of trust", "from ..shared import x", "tests/work", "`src/work`"]
)
def test_innocent_words_pass(line: str) -> None:
    assert not any(pattern.search(line) for pattern in FORBIDDEN)


def test_the_example_of_the_settings_is_current() -> None:
    words = [sys.executable, "-m", "sensorium", "settings", "--example"]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / ".env.example").read_text() == printed, "write it anew: make env-example"
