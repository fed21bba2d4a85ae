"""The client's dataclasses have exactly the keys that the services answer."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import is_typeddict

from angus import results
from workers.catalog import load_catalog

#: Its answer is those of the services that it is asked for, under their names.
MADE_OF_OTHERS = {"composite"}
SERVICES = {name: service for (name, _), service in load_catalog().items() if name not in MADE_OF_OTHERS}


def keys(noun: Any) -> dict[str, Any]:
    """The keys of a model, a typed dictionary or a dataclass, with their types; nothing for any other type."""
    if not isinstance(noun, type):
        return {}
    if issubclass(noun, BaseModel):
        return {name: field.annotation for name, field in noun.model_fields.items()}
    return typing.get_type_hints(noun) if dataclasses.is_dataclass(noun) or is_typeddict(noun) else {}


def inner(hint: Any) -> Any:
    """The noun within a type (a list of faces: a face), if there is one."""
    return hint if keys(hint) else next((found for part in typing.get_args(hint) if (found := inner(part)) is not None), None)


def sometimes(noun: Any) -> set[str]:
    """The keys of a model that an answer may lack."""
    return {name for name, field in noun.model_fields.items() if field.default is None} if issubclass(noun, BaseModel) else set()


def always(noun: Any) -> set[str]:
    """The fields of a dataclass that have to be there."""
    return {field.name for field in dataclasses.fields(noun) if field.default is dataclasses.MISSING}


def differences(theirs: Any, ours: Any) -> list[str]:
    """The keys that only one of them has, in all their depth."""
    answered, known = keys(theirs), keys(ours)
    found = [f"{ours.__name__}: {name}" for name in answered.keys() ^ known.keys()]
    found += [f"{ours.__name__}: {name} may be absent" for name in sometimes(theirs) & always(ours)]
    for name in answered.keys() & known.keys():
        below, beneath = inner(answered[name]), inner(known[name])
        if (below is None) != (beneath is None):
            found.append(f"{ours.__name__}: {name} is {known[name]}")
        elif below is not None:
            found += differences(below, beneath)
    return found


def test_every_service_has_its_dataclass() -> None:
    assert results.BY_SERVICE.keys() == SERVICES.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_a_dataclass_has_the_keys_of_the_answer(name: str) -> None:
    assert not differences(SERVICES[name].output_type, results.BY_SERVICE[name])


def test_a_difference_is_found() -> None:
    assert differences(SERVICES["face_recognition"].output_type, results.FaceDetection)
