"""Every service with networks on the device and on the processor: do they answer the same?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sensorium.bench.command import walking_person
from shared.errors import PerceptionError
from workers.catalog import ServiceType, load_catalog
from workers.composing import ComposedService
from workers.contract import Image, Input, Item, Network, Output, Service
from workers.inference.onnx import Device, OnnxModels

#: Pixels by which places may differ, and by how much, of 1 or relative, everything else may.
PIXELS, SHARE = 2, 0.02
_IDENTITY = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}$")
_FRAMES = 8


@dataclass
class Opening:
    """Models that remember which networks a service opened."""

    models: OnnxModels
    networks: list[Network] = field(default_factory=list)

    def open(self, name: str) -> Network:
        return self._opened(self.models.open(name))

    def choose(self, name: str) -> Network:
        return self._opened(self.models.choose(name))

    def optional(self, name: str) -> Network | None:
        network = self.models.optional(name)
        return None if network is None else self._opened(network)

    def has(self, name: str) -> bool:
        return self.models.has(name)

    def _opened(self, network: Network) -> Network:
        self.networks.append(network)
        return network

    def path(self, name: str) -> Path:
        return self.models.path(name)


@dataclass(frozen=True)
class Loaded:
    """A service and its networks on one device."""

    kind: ServiceType
    service: Service[Any, Any]
    networks: Sequence[Network]


def loaded(device: Device, only: Sequence[str] = ()) -> tuple[list[Loaded], dict[str, str]]:
    """Services with networks that can be loaded, and why others cannot. Raises `DeviceMissing`."""
    models, found, missing = OnnxModels(device=device), [], {}
    for (name, _), kind in load_catalog(None).items():
        if issubclass(kind, ComposedService) or (only and name not in only):
            continue
        opening, service = Opening(models), kind()
        try:
            service.load(opening)
        except PerceptionError as error:
            if error.code == "device_missing":
                raise
            missing[name] = error.message
            continue
        if opening.networks:
            found.append(Loaded(kind, service, opening.networks))
    return found, missing


def inputs(kind: ServiceType) -> Iterator[Input]:
    """What a service is shown, frame after frame: its own example, or somebody who walks where it takes pictures."""
    example = kind.example()
    if not isinstance(getattr(example, "image", None), Image):
        yield from (example for _ in range(_FRAMES))
        return
    for picture in walking_person()[:_FRAMES]:
        yield example.model_copy(update={"image": Image(picture)})


def answers(one: Loaded) -> list[Any]:
    """The results of the frames of one session, in which what is random is left out."""
    state = one.kind.state_type() if one.kind.state_type else None
    found = []
    for value in inputs(one.kind):
        (answer,) = one.service.process([Item(value, state)])
        if not isinstance(answer, Output):
            raise answer
        found.append(_nameless(answer.as_result()))
    return found


def _nameless(value: Any) -> Any:
    """Identities of persons are made of chance."""
    if isinstance(value, dict):
        return {"*" if _IDENTITY.match(name) else name: _nameless(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nameless(each) for each in value]
    return "*" if isinstance(value, str) and _IDENTITY.match(value) else value


def differences(here: Any, there: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """(place, difference as a share of what is allowed) of each number; infinite where something is not the same at all."""
    if isinstance(here, bool) or isinstance(there, bool) or not isinstance(here, (int, float)) or not isinstance(there, (int, float)):
        if isinstance(here, dict) and isinstance(there, dict) and here.keys() == there.keys():
            for name in here:
                yield from differences(here[name], there[name], f"{place}.{name}")
        elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
            for number, (one, other) in enumerate(zip(here, there, strict=True)):
                yield from differences(one, other, f"{place}[{number}]")
        elif here != there:
            yield place, float("inf")
        return
    whole = isinstance(here, int) and isinstance(there, int)
    allowed = PIXELS if whole else max(SHARE, SHARE * max(abs(here), abs(there)))
    yield place, abs(here - there) / allowed


def table(ours: Sequence[Loaded], processor: Sequence[Loaded], device: str) -> tuple[str, bool]:
    """A row a service; and whether all are the same within what is allowed."""
    rows, same = [f"| service | {device} = cpu | largest difference, of what is allowed | where |", "|---|---|---:|---|"], True
    others = {one.kind.name: one for one in processor}
    for one in ours:
        found = list(differences(answers(one), answers(others[one.kind.name])))
        place, worst = max(found, key=lambda pair: pair[1], default=("", 0.0))
        same &= worst <= 1
        rows.append(f"| {one.kind.name} | {'yes' if worst <= 1 else '**no**'} | {worst:.0%} | {place if worst else ''} |")
    return "\n".join(rows), same
