"""A service that is made of others: its types come from theirs, so that a further service needs no line here.

`ComposedService.over` makes the types when the catalogue is loaded, and `ComposedService.join` hands it the loaded parts.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, PrivateAttr, SkipValidation, ValidationInfo, create_model, model_validator
from pydantic.fields import FieldInfo

from shared.errors import PerceptionError
from workers.contract import Image, Input, Output, Service

ServiceType = type[Service[Any, Any]]

_SHARED = "image"


@dataclass(frozen=True, slots=True)
class Part:
    """A loaded service of the composite. ``batch``: the items of one `Service.process` that pay here; ``facts``: what computes it."""

    service: Service[Any, Any]
    batch: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)


class ComposedInput(Input):
    """What every composite takes. `over` adds the parameters of the services, each checked by those that are asked for it."""

    kinds: ClassVar[Mapping[str, ServiceType]] = {}

    services: list[str] = Field(min_length=1)
    image: Image = Field(description="The picture for all of them, JPEG or PNG.")
    _parts: dict[str, Input] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _fill_parts(self, info: ValidationInfo) -> Self:
        given = {name: getattr(self, name) for name in self.model_fields_set}
        for name in self.services:
            takes = self.kinds[name].input_type
            own = {key: value for key, value in given.items() if key in takes.model_fields}
            self._parts[name] = takes.model_validate(own, context=info.context)
        return self

    @property
    def parts(self) -> Mapping[str, Input]:
        """The input of each service asked, by its name, in the order in which they were asked. All have the same `Image`."""
        return self._parts


class ComposedOutput(Output):
    """The answer of each service asked, by its name."""

    _results: dict[str, Any] = PrivateAttr(default_factory=dict)

    def with_results(self, results: Mapping[str, Any]) -> Self:
        self._results = dict(results)
        return self

    def as_result(self) -> dict[str, Any]:
        return self._results


class PartFailed(BaseModel):
    """In place of the result of a service that could not answer."""

    error: str = Field(description="A sentence.")
    code: str = Field(description="What went wrong, for programs.")
    parameter: str | None = Field(default_factory=lambda: None, description="The input at fault.")

    @classmethod
    def result(cls, error: PerceptionError) -> dict[str, Any]:
        return cls(error=error.message, code=error.code, parameter=error.parameter).model_dump(exclude_none=True)


class ComposedService(Service[ComposedInput, ComposedOutput]):
    """Base of a service that is made of others."""

    input_type = ComposedInput
    output_type: ClassVar[type[ComposedOutput]] = ComposedOutput
    kinds: ClassVar[Mapping[str, ServiceType]] = {}
    #: Without what `over` made of it.
    plain: ClassVar[Any] = None

    parts: Mapping[str, Part | PerceptionError]

    def join(self, parts: Mapping[str, Part | PerceptionError]) -> None:
        """Take the loaded services by name, or the reason why one could not be loaded. Called instead of `load`."""
        self.parts = parts

    def prepare(self, inputs: Sequence[ComposedInput]) -> None:
        """What each service that is asked would do ahead by itself."""
        for name, part in self.parts.items():
            asked = [given.parts[name] for given in inputs if name in given.parts]
            if asked and isinstance(part, Part):
                part.service.prepare(asked)

    @classmethod
    def over(cls, catalog: Mapping[tuple[str, int], ServiceType]) -> type[Self]:
        """This service over those of the catalogue that look at a picture, each in its newest version."""
        base: type[Self] = cls.plain or cls
        kinds = {name: kind for (name, _), kind in sorted(catalog.items()) if not issubclass(kind, ComposedService) and _takes_image(kind)}
        takes: type[ComposedInput] = create_model(
            base.input_type.__name__, __base__=base.input_type, __doc__=base.input_type.__doc__, **_parameters(kinds)
        )
        takes.kinds = kinds
        answers = create_model(base.output_type.__name__, __base__=base.output_type, __doc__=base.output_type.__doc__, **_results(kinds))
        models = tuple(sorted({model for kind in kinds.values() for model in kind.models}))
        made = {"input_type": takes, "output_type": answers, "kinds": kinds, "models": models, "plain": base}
        return type(base.__name__, (base,), {**made, "__doc__": base.__doc__, "__module__": base.__module__})


def compose(catalog: Mapping[tuple[str, int], ServiceType]) -> dict[tuple[str, int], ServiceType]:
    """The catalogue with each composed service made over it."""
    return {key: kind.over(catalog) if issubclass(kind, ComposedService) else kind for key, kind in catalog.items()}


def _takes_image(kind: ServiceType) -> bool:
    shared = kind.input_type.model_fields.get(_SHARED)
    return shared is not None and shared.annotation is Image


def _parameters(kinds: Mapping[str, ServiceType]) -> dict[str, Any]:
    """The composite's fields: described as the services describe them, but left to those that are asked to validate."""
    found: dict[str, list[FieldInfo]] = {}
    for kind in kinds.values():
        for name, info in kind.input_type.model_fields.items():
            if name not in ComposedInput.model_fields:
                found.setdefault(info.alias or name, []).append(info)
    fields: dict[str, Any] = {}
    for name, infos in found.items():
        annotation = reduce(operator.or_, [_annotation(info) for info in infos])
        fields[name] = (Annotated[annotation, SkipValidation], Field(default_factory=lambda: None, description=infos[0].description))
    if kinds:
        names: Any = Literal[tuple(kinds)]
        fields["services"] = (
            list[names],
            Field(min_length=1, examples=[list(kinds)[:2]], description="The names of the services that are to look at the picture."),
        )
    return fields


def _annotation(info: FieldInfo) -> Any:
    return Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation


def _results(kinds: Mapping[str, ServiceType]) -> dict[str, Any]:
    def described(kind: ServiceType) -> Any:
        return Field(default_factory=lambda: None, description=kind.description().splitlines()[0])

    return {name: (kind.output_type | PartFailed, described(kind)) for name, kind in kinds.items()}
