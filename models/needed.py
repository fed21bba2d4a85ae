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
    #: it and its stand-ins, best first
    choices: tuple[Model, ...]
    manifest: Manifest
    #: names of models that are taken before those they stand in for
    prefer: tuple[str, ...] = ()

    def chosen(self, directory: Path) -> Model | None:
        """What a worker that starts now opens; None when nothing is installed, whole and with what it needs."""
        return self.manifest.best(self.preferred.name, lambda model: model.state(directory, read=False) is State.INSTALLED, self.prefer)

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
        needs.append(Need(preferred, tuple(using[name]), manifest.candidates(name, prefer), manifest, tuple(prefer)))
    return tuple(needs)


def reasons(needs: Iterable[Need]) -> dict[str, tuple[str, ...]]:
    """For each model that may be fetched, the services that want it."""
    found: dict[str, dict[str, None]] = {}
    for need in needs:
        waiting = list(need.choices)
        done: set[str] = set()
        while waiting:
            model = waiting.pop()
            if model.name not in done:
                done.add(model.name)
                found.setdefault(model.name, {}).update(dict.fromkeys(need.services))
                waiting += [one for other in model.companions for one in need.manifest.candidates(other)]
    return {name: tuple(services) for name, services in found.items()}
