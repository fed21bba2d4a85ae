"""Which models the services need, and which set of them is here: the preferred ones, or those that stand in for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.manifest import Manifest, Model, State

#: The models of each service, by their names.
Services = Mapping[str, Iterable[str]]


@dataclass(frozen=True, slots=True)
class Need:
    """One model that services name, and all that may take its place."""

    preferred: Model
    #: by name
    services: tuple[str, ...]
    #: groups of which each does alone, best first: a model, behind the companions without which it is of no use
    choices: tuple[tuple[Model, ...], ...]

    def chosen(self, directory: Path) -> Model | None:
        """What a worker that starts now opens; None when nothing is installed. As `workers.runtime.OnnxModels.choose`."""
        for group in self.choices:
            if all(model.state(directory, read=False) is State.INSTALLED for model in group):
                return group[-1]
        return None

    def has_preferred(self, directory: Path) -> bool:
        """Whether the preferred model itself is what answers."""
        chosen = self.chosen(directory)
        return chosen is not None and chosen.name == self.preferred.name

    def answer(self, directory: Path) -> str:
        """In words, for a listing."""
        chosen = self.chosen(directory)
        if chosen is not None and self.has_preferred(directory):
            return chosen.name
        if chosen is not None:
            return f"{chosen.name}, which stands in for {self.preferred.name}"
        return f"nothing: {self.preferred.name} is not installed" + (" (the service does without)" if self.preferred.optional else "")


def needs_of(manifest: Manifest, services: Services, prefer: Sequence[str] = ()) -> tuple[Need, ...]:
    """One for each model that a service names, in the order of the manifest. ``prefer``: as `Manifest.candidates` takes it.

    Raises `UnknownModel`.
    """
    using: dict[str, list[str]] = {}
    for service, names in services.items():
        for name in names:
            using.setdefault(name, []).append(service)
    order = {model.name: place for place, model in enumerate(manifest.models)}
    needs = []
    for name in sorted(using, key=lambda name: (order.get(name, len(order)), name)):
        preferred = manifest.get(name)
        choices = tuple(_group(manifest, model) for model in manifest.candidates(name, prefer))
        needs.append(Need(preferred, tuple(using[name]), choices))
    return tuple(needs)


def _group(manifest: Manifest, model: Model) -> tuple[Model, ...]:
    return (*(manifest.get(name) for name in model.companions), model)


def reasons(needs: Iterable[Need]) -> dict[str, tuple[str, ...]]:
    """For each model that may be fetched, the services that want it."""
    found: dict[str, dict[str, None]] = {}
    for need in needs:
        for group in need.choices:
            for model in group:
                found.setdefault(model.name, {}).update(dict.fromkeys(need.services))
    return {name: tuple(services) for name, services in found.items()}
