"""`sensorium models pull | list | verify | export`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models import export
from models.manifest import Manifest, Model, State, UnknownModel
from models.mirror import FolderMirror, Mirrors, NoMirror, open_mirror
from models.needed import Need, Services, needs_of, reasons
from models.obtain import PullSettings
from models.pull import Done, Puller, PullFailed
from models.sets import SetPuller


@dataclass(frozen=True)
class Place:
    """Where models are installed and what is known of them."""

    #: the models directory
    directory: Path
    #: a folder or address, as `models.mirror.open_mirror` takes it
    mirror: str | None
    manifest: Manifest
    #: asked only by commands that need it: reading the services takes a moment
    services: Callable[[], Services]
    #: names of models that are taken before those they stand in for
    prefer: tuple[str, ...] = ()

    def puller(self, quiet: bool, needs: Iterable[Need]) -> Puller:
        return Puller(self.directory, open_mirror(self.mirror), PullSettings(quiet=quiet), reasons(needs))

    def copier(self, folder: Path, quiet: bool, needs: Iterable[Need]) -> Puller:
        """Fills another folder, from what is installed first."""
        installed = FolderMirror(self.directory) if self.directory.is_dir() else NoMirror()
        return Puller(folder, Mirrors(installed, open_mirror(self.mirror)), PullSettings(quiet=quiet), reasons(needs))


class UnknownService(Exception):
    """``--service`` names none."""


class UnknownLanguage(Exception):
    """``--voices`` names a language for which there is none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the commands."""
    commands = parser.add_subparsers(dest="models_command", required=True, metavar="COMMAND")
    pull = commands.add_parser("pull", help="install models: all, by name, or what services need")
    sets = pull.add_mutually_exclusive_group()
    sets.add_argument(
        "--needed",
        action="store_true",
        help="for every service, unless --service names some: the preferred models, or those that stand in for them",
    )
    sets.add_argument(
        "--upgrade", action="store_true", help="like --needed, and try the preferred models too where others stand in for them"
    )
    sets.add_argument("--both", action="store_true", help="every model that can be had, for tests; what services need must be")
    pull.add_argument("--service", action="append", default=[], metavar="SERVICE", help="what this service needs (repeatable)")
    exporting = commands.add_parser(
        "export", help="write every model that can be had into a folder, with licences, for a machine that reaches nothing"
    )
    exporting.add_argument("folder", type=Path, metavar="DIR", help="is made, or completed")
    for command in (pull, exporting):
        command.add_argument(
            "--voices",
            action="append",
            default=[],
            metavar="LANGUAGE",
            help="the neural voice of this language, like en-US, or all (repeatable)",
        )
        command.add_argument("--quiet", action="store_true", help="no progress bars, and no line for what is there already")
    listing = commands.add_parser(
        "list", help="what there is, what is installed, and which models services answer with (sizes are compared, contents are not)"
    )
    verify = commands.add_parser("verify", help="compare the contents of the installed models with the manifest")
    for command in (pull, listing, verify):
        command.add_argument("names", nargs="*", metavar="NAME", help="models, by default all")


def run(args: argparse.Namespace, place: Place) -> int:
    """Returns the exit status: 0, 1 when a model is missing, corrupt or could not be had, 2 for an unknown name."""
    try:
        if args.models_command == "pull":
            return _pull(args, place)
        if args.models_command == "export":
            return _export(args, place)
        models = place.manifest.select(args.names or _everything(place))
        if args.models_command == "verify":
            return _verify(models, place.directory)
        return _list(models, place, () if args.names else needs_of(place.manifest, place.services(), place.prefer))
    except (UnknownModel, UnknownService, UnknownLanguage) as error:
        print(f"sensorium: {error}", file=sys.stderr)
        return 2


def _everything(place: Place) -> list[str]:
    """All models, and the voices that are here, whole or in part."""
    voices = [file for voice in place.manifest.voices for file in voice.files]
    here = [file for file in voices if file.state(place.directory, read=False) is not State.MISSING]
    return [model.name for model in (*place.manifest.models, *here)]


def _needs(args: argparse.Namespace, place: Place) -> tuple[Need, ...]:
    """What the named services need, by default all of them."""
    services = place.services()
    named = getattr(args, "service", [])
    if unknown := [name for name in named if name not in services]:
        raise UnknownService(f"no service is called {unknown[0]!r}")
    chosen = {name: models for name, models in services.items() if not named or name in named}
    return needs_of(place.manifest, chosen, place.prefer)


def _voices(languages: Iterable[str], manifest: Manifest) -> Iterable[str]:
    """The preferred voice of each language."""
    known = sorted({voice.language for voice in manifest.voices})
    for language in languages:
        for wanted in known if language == "all" else [language]:
            found = manifest.voices_of(wanted)
            if not found:
                raise UnknownLanguage(f"there is no voice for {wanted!r}; there are some for {', '.join(known)}")
            yield found[0].name


def _said(puller: Puller, quiet: bool) -> Done:
    """A line for each model: what came, why, and from where."""

    def done(model: Model, new: bool) -> None:
        if new:
            size = f"{model.artefact.size / 1e6:.1f} MB{puller.purpose(model)}"
            print(f"{model.name}: installed, {size}, from {puller.origins.get(model.name, 'another pull')}", flush=True)
        elif not quiet:
            print(f"{model.name}: already installed")

    return done


def _pull(args: argparse.Namespace, place: Place) -> int:
    names = [*args.names, *_voices(args.voices, place.manifest)]
    by_set = args.needed or args.upgrade or args.both or bool(args.service)
    named = place.manifest.select(names) if names or not by_set else ()
    needs = _needs(args, place)
    puller = place.puller(args.quiet, needs)

    done = _said(puller, args.quiet)
    with puller:
        failures = puller.pull_all(named, done)
        if by_set:
            failures += _pull_sets(args, place, needs, SetPuller(puller, place.directory, needs, done, place.mirror or ""))
    for failure in failures:
        print(f"sensorium: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _pull_sets(args: argparse.Namespace, place: Place, needs: Sequence[Need], sets: SetPuller) -> list[PullFailed]:
    """Returns what is a failure."""
    before = {need.preferred.name: need.chosen(place.directory) for need in needs}
    outcome = sets.both(place.manifest.select(())) if args.both else sets.needed(again=args.upgrade)
    better = any(before[need.preferred.name] not in (None, need.chosen(place.directory)) for need in needs)
    if needs and not (args.quiet and all(need.has_preferred(place.directory) for need in needs)):
        print(summary(needs, place.directory))
    if better:
        print("what runs keeps the models that it has opened; restart it for the new ones")
    return [*outcome.failures, *(outcome.absent.values() if args.upgrade else ())]


def _export(args: argparse.Namespace, place: Place) -> int:
    """Models that could not be had are named; the status says whether a machine with this folder alone can serve everything."""
    folder: Path = args.folder
    if folder.resolve() == place.directory.resolve():
        print(f"sensorium: {folder} is the models directory; name another folder", file=sys.stderr)
        return 2
    needs = _needs(args, place)
    models = export.wanted(place.manifest, place.directory, set(_voices(args.voices, place.manifest)))
    puller = place.copier(folder, args.quiet, needs)
    failures = puller.pull_all(models, _said(puller, args.quiet))
    cards = {file.name: voice.card for voice in place.manifest.voices for file in voice.files}
    size = export.finish(folder, models, cards)
    for failure in failures:
        print(f"sensorium: {failure}", file=sys.stderr)
    print(f"{len(models) - len(failures)} of {len(models)} files, {size / 1e6:.0f} MB, and their licences in {folder}")
    print(f"there: SENSORIUM_MODELS_MIRROR={folder} sensorium models pull --needed")
    unserved = [need for need in needs if need.chosen(folder) is None and not need.preferred.optional]
    return 1 if unserved else 0


def summary(needs: Sequence[Need], directory: Path) -> str:
    """In one line: which set is installed."""
    chosen = [(need.preferred, need.chosen(directory)) for need in needs]
    instead = [f"{model.name} for {preferred.name}" for preferred, model in chosen if model is not None and model.name != preferred.name]
    without = [preferred.name for preferred, model in chosen if model is None and preferred.optional]
    missing = [preferred.name for preferred, model in chosen if model is None and not preferred.optional]
    parts = []
    if instead:
        parts.append(f"{len(instead)} stand-ins ({', '.join(instead)})")
    if without:
        parts.append(f"services do without {', '.join(without)}")
    if missing:
        parts.append(f"missing: {', '.join(missing)}")
    if not parts:
        return f"all {len(chosen)} preferred models are installed"
    preferred = len(chosen) - len(instead) - len(without) - len(missing)
    if not instead and not without:
        return f"{preferred} of {len(chosen)} preferred models are installed; {'; '.join(parts)}"
    later = "`sensorium models pull --upgrade` brings the preferred ones once they can be reached"
    return f"{preferred} of {len(chosen)} preferred models are installed; {'; '.join(parts)}; {later}"


def _list(models: Sequence[Model], place: Place, needs: Sequence[Need]) -> int:
    rows = [("name", "state", "MB", "role", "sources", "licence", "task")]
    for model in models:
        state = model.state(place.directory, read=False)
        megabytes = f"{model.artefact.size / 1e6:.1f}"
        rows.append((model.name, state, megabytes, model.role, ",".join(model.source_kinds), model.licence, model.task))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        print("  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]))
    print(f"in {place.directory}")
    if needs:
        print("\nservices that start now answer with:")
        width = max(len(need.preferred.task) for need in needs)
        for need in needs:
            print(f"  {need.preferred.task:<{width}}  {need.answer(place.directory)}")
    return 0


def _verify(models: tuple[Model, ...], models_dir: Path) -> int:
    wrong = []
    for model in models:
        state = model.state(models_dir)
        print(f"{model.name}: {state}")
        if state is not State.INSTALLED:
            wrong.append(model.name)
    if wrong:
        print(f"sensorium: run: sensorium models pull {' '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0
