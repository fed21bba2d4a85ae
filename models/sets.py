"""`sensorium models pull --needed | --upgrade | --both`: the preferred models, or those that stand in for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from models.manifest import Model, State
from models.needed import Need, reasons
from models.pull import WORK, Done, Puller, PullFailed

_RECORD = "not-available"


@dataclass
class Outcome:
    """What a pull of sets came to."""

    #: needs that nothing answers, with why
    failures: list[PullFailed] = field(default_factory=list)
    #: what could not be had, by name, although something else answers or nothing has to
    absent: dict[str, PullFailed] = field(default_factory=dict)


class SetPuller:
    """Pulls for ``needs`` into ``directory``. ``mirror``: where ``puller`` asks first; what could not be had is remembered with it."""

    def __init__(self, puller: Puller, directory: Path, needs: Sequence[Need], done: Done, mirror: str = "") -> None:
        self._puller = puller
        self._directory = directory
        self._needs = needs
        self._done = done
        self._record = _Record(directory / WORK / _RECORD, mirror)
        self._failed: dict[str, PullFailed] = {}  # in this run, by name
        self._missing: list[Model] = []
        self._pulled: set[str] = set()

    def needed(self, again: bool = False) -> Outcome:
        """For each need the best that can be had.

        Where something answers already, it stays, unless the need prefers something better by name, and an optional model that these
        sources did not have before is not asked for. ``again``: all the same, the better ones are tried.
        """
        outcome = Outcome()
        with self._puller:
            for need in self._needs:
                self._pull_need(need, again)
                self._judge(need, outcome)
        self._remember()
        return outcome

    def both(self, others: Iterable[Model]) -> Outcome:
        """Every choice of each need, and ``others``. What answers decides what is a failure, as in `needed`."""
        outcome = Outcome()
        with self._puller:
            for need in self._needs:
                for model in need.choices:
                    self._pull_with_companions(need, model)
            for model in others:
                if not self._pull(model):
                    outcome.absent[model.name] = self._failed[model.name]
        for need in self._needs:
            self._judge(need, outcome)
        self._remember()
        return outcome

    def _pull_need(self, need: Need, again: bool) -> None:
        answering = need.chosen(self._directory)
        for model in need.choices:
            if model is not answering and not again:
                if answering is not None and model.name not in need.prefer:
                    continue
                if need.preferred.optional and self._record.has(model):
                    continue
            if self._pull_with_companions(need, model):  # where it is there already, it is verified
                break

    def _pull_with_companions(self, need: Need, model: Model, above: frozenset[str] = frozenset()) -> bool:
        """Companions first: without them there is no use for it. What stands in for a companion will do."""
        above = above | {model.name}
        return all(other in above or self._pull_companion(need, other, above) for other in model.companions) and self._pull(model)

    def _pull_companion(self, need: Need, name: str, above: frozenset[str]) -> bool:
        candidates = need.manifest.candidates(name, need.prefer)
        here = need.manifest.best(name, lambda model: model.state(self._directory, read=False) is State.INSTALLED, need.prefer)
        return here is not None or any(self._pull_with_companions(need, model, above) for model in candidates)

    def _judge(self, need: Need, outcome: Outcome) -> None:
        """Whether what could not be had for ``need`` is a failure."""
        names = reasons([need])
        wanted = {name: failure for name, failure in self._failed.items() if name in names}
        if need.chosen(self._directory) is None and not need.preferred.optional:
            outcome.failures += [failure for failure in wanted.values() if failure not in outcome.failures]
        else:
            outcome.absent.update(wanted)

    def _pull(self, model: Model) -> bool:
        """Whether it is there; each is asked for once in a run."""
        if model.name in self._failed or model.name in self._pulled:
            return model.name in self._pulled
        try:
            self._done(model, self._puller.pull(model))
        except PullFailed as error:
            self._failed[model.name] = error
            self._missing.append(model)
            return False
        self._pulled.add(model.name)
        return True

    def _remember(self) -> None:
        """A registry that did not answer once may answer at the next start: only what no registry has is remembered."""
        missing = [model for model in self._missing if not model.in_registries]
        if missing:
            self._record.add(missing)


class _Record:
    """Which models could not be had from which sources: they are not asked at every start for what they do not have."""

    def __init__(self, path: Path, mirror: str) -> None:
        self._path = path
        self._mirror = mirror

    def has(self, model: Model) -> bool:
        """Never with a mirror: its content may have changed."""
        return not self._mirror and self._key(model) in self._read()

    def add(self, models: Iterable[Model]) -> None:
        keys = self._read() | {self._key(model) for model in models}
        with suppress(OSError):  # a record that cannot be written costs time, nothing else
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text("".join(f"{key}\n" for key in sorted(keys)), encoding="ascii")

    def _read(self) -> set[str]:
        try:
            return set(self._path.read_text(encoding="ascii").split())
        except (OSError, UnicodeDecodeError):
            return set()

    def _key(self, model: Model) -> str:
        """Of the file that is wanted and of everywhere that is asked for it."""
        artefacts = (model.artefact, *(model.conversion.originals if model.conversion else ()))
        sources = [(one.digest, one.urls, [str(package) for package in one.packages]) for one in artefacts]
        return hashlib.sha256(repr((self._mirror, sources)).encode()).hexdigest()
