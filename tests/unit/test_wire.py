"""Versions beside each other read each other: gateways, workers and recorders are exchanged one after the other, and sessions go on meanwhile.

The bytes in tests/wire/VERSION are as that version wrote them and are never written again: a test that fails here says that an upgrade
under load would lose work. A field may be added, with a default; none may go, or change its type or meaning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.wire.things import HERE, SAID
from workers.catalog import load_catalog
from workers.composing import ComposedService

VERSIONS = sorted(path for path in HERE.iterdir() if path.is_dir() and path.name[0].isdigit())
SAID_THEN = [pytest.param(path, id=f"{version.name}-{path.name}") for version in VERSIONS for path in sorted(version.iterdir())]
STATEFUL = {
    f"state.{kind.name}.{kind.version}.json": kind.state_type
    for kind in load_catalog(None).values()
    if kind.state_type is not None and not issubclass(kind, ComposedService)
}
_NEWS = {"of_the_next_version": {"deep": [1, "☃"]}, "flag": True}


def _header(encoded: bytes) -> tuple[bytes, Any, bytes]:
    """Magic number, header and files of a job."""
    end = 8 + int.from_bytes(encoded[4:8], "big")
    return encoded[:4], orjson.loads(encoded[8:end]), encoded[end:]


def _document(name: str, encoded: bytes) -> Any:
    return _header(encoded)[1] if name == "job.bin" else orjson.loads(encoded)


def _with_news(name: str, encoded: bytes) -> bytes:
    """As a next version would write it that says more."""
    if name != "job.bin":
        return orjson.dumps(_more(orjson.loads(encoded)))
    magic, header, files = _header(encoded)
    text = orjson.dumps(_more(header))
    return b"".join((magic, len(text).to_bytes(4, "big"), text, files))


def _more(document: dict[str, Any]) -> dict[str, Any]:
    services = [{**served, **_NEWS} for served in document.get("services", ())]
    return {**document, **({"services": services} if services else {}), **_NEWS}


def _holds(now: Any, then: Any) -> bool:
    """Whether everything that was said then is said now, perhaps with more beside it."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(name in now and _holds(now[name], value) for name, value in then.items())
    if isinstance(then, list):
        return isinstance(now, list) and len(now) == len(then) and all(map(_holds, now, then))
    return type(now) is type(then) and bool(now == then)


def test_every_form_of_the_wire_is_kept() -> None:
    assert VERSIONS
    assert {path.name for path in VERSIONS[-1].iterdir()} == {*SAID, *STATEFUL}


@pytest.mark.parametrize("path", [param for param in SAID_THEN if not str(param.id).split("-", 1)[1].startswith("state.")])
def test_what_a_version_said_is_read(path: Path) -> None:
    said, encoded = SAID[path.name], path.read_bytes()
    assert said.decode(encoded) == said.value


@pytest.mark.parametrize("path", [param for param in SAID_THEN if not str(param.id).split("-", 1)[1].startswith("state.")])
def test_all_that_a_version_said_is_still_said(path: Path) -> None:
    said, encoded = SAID[path.name], path.read_bytes()
    assert _holds(_document(path.name, said.encoded), _document(path.name, encoded))


@pytest.mark.parametrize("name", SAID)
def test_what_a_next_version_says_beside_is_passed_over(name: str) -> None:
    said = SAID[name]
    assert said.decode(_with_news(name, said.encoded)) == said.value


@pytest.mark.parametrize("path", [param for param in SAID_THEN if str(param.id).split("-", 1)[1].startswith("state.")])
def test_the_state_of_a_session_goes_on_in_another_version(path: Path) -> None:
    """Read and written again it holds all that it held; what a next version added to it is passed over at every level."""
    kind, encoded = STATEFUL[path.name], path.read_bytes()
    then = orjson.loads(encoded)
    assert then, "a state without anything in it would prove nothing"
    again = orjson.loads(kind.model_validate_json(encoded).model_dump_json())
    assert _holds(again, then)
    assert orjson.loads(kind.model_validate_json(orjson.dumps(_everywhere(then))).model_dump_json()) == again


def _everywhere(value: Any) -> Any:
    """News in the document itself and in the records of its lists."""
    if isinstance(value, list):
        return [_everywhere(each) for each in value]
    if isinstance(value, dict) and value and all(isinstance(each, str) and each.isidentifier() for each in value):
        return {**{name: _everywhere(each) if isinstance(each, list) else each for name, each in value.items()}, "of_the_next_version": 1}
    return value
