"""`sensorium models pull | list | verify`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from models.manifest import Manifest, Model, State, UnknownModel, load_manifest
from models.mirror import open_mirror
from models.pull import Puller, PullSettings

ModelsOf = Callable[[str], Iterable[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the three commands."""
    commands = parser.add_subparsers(dest="models_command", required=True, metavar="COMMAND")
    pull = commands.add_parser("pull", help="install models: all, by name, or what services need")
    pull.add_argument("--service", action="append", default=[], metavar="SERVICE", help="the models of this service (repeatable)")
    pull.add_argument("--needed", action="append_const", dest="service", const="all", help="the models of every installed service")
    pull.add_argument(
        "--voices",
        action="append",
        default=[],
        metavar="LANGUAGE",
        help="the neural voice of this language, like en-US, or all (repeatable)",
    )
    pull.add_argument("--quiet", action="store_true", help="no progress bars, and no line for what is there already")
    listing = commands.add_parser("list", help="what there is and what is installed (sizes are compared, contents are not)")
    verify = commands.add_parser("verify", help="compare the contents of the installed models with the manifest")
    for command in (pull, listing, verify):
        command.add_argument("names", nargs="*", metavar="NAME", help="models, by default all")


def run(
    args: argparse.Namespace, models_dir: Path, mirror: str | None, models_of: ModelsOf | None = None, manifest: Manifest | None = None
) -> int:
    """Returns the exit status: 0, 1 when a model is missing, corrupt or could not be had, 2 for an unknown name.

    ``models_of`` answers which models a service needs (``all``: every one); it raises `KeyError` for an unknown service.
    """
    manifest = manifest or load_manifest()
    try:
        if args.models_command == "pull":
            return _pull(_wanted(args, manifest, models_of), args.quiet, models_dir, mirror)
        models = manifest.select(args.names or _everything(manifest, models_dir))
    except (UnknownModel, UnknownService, UnknownLanguage) as error:
        print(f"sensorium: {error}", file=sys.stderr)
        return 2
    return _verify(models, models_dir) if args.models_command == "verify" else _list(models, models_dir)


class UnknownService(Exception):
    """``--service`` names none."""


class UnknownLanguage(Exception):
    """``--voices`` names a language for which there is none."""


def _everything(manifest: Manifest, models_dir: Path) -> list[str]:
    """All models, and the voices that are here, whole or in part."""
    voices = [file for voice in manifest.voices for file in voice.files]
    return [
        model.name for model in (*manifest.models, *(file for file in voices if file.state(models_dir, read=False) is not State.MISSING))
    ]


def _wanted(args: argparse.Namespace, manifest: Manifest, models_of: ModelsOf | None) -> tuple[Model, ...]:
    if not args.service and not args.voices:
        return manifest.select(args.names)
    names = [*args.names, *_voices(args.voices, manifest)]
    for service in args.service:
        try:
            names += models_of(service) if models_of else ()
        except KeyError as error:
            raise UnknownService(f"no service is called {service!r}") from error
    return manifest.select(names) if names else ()  # some services need no model


def _voices(languages: Iterable[str], manifest: Manifest) -> Iterable[str]:
    """The preferred voice of each language."""
    known = sorted({voice.language for voice in manifest.voices})
    for language in languages:
        for wanted in known if language == "all" else [language]:
            found = manifest.voices_of(wanted)
            if not found:
                raise UnknownLanguage(f"there is no voice for {wanted!r}; there are some for {', '.join(known)}")
            yield found[0].name


def _pull(models: tuple[Model, ...], quiet: bool, models_dir: Path, mirror: str | None) -> int:
    def done(model: Model, new: bool) -> None:
        if new or not quiet:
            print(f"{model.name}: {'installed' if new else 'already installed'}")

    failures = Puller(models_dir, open_mirror(mirror), PullSettings(quiet=quiet)).pull_all(models, done)
    for failure in failures:
        print(f"sensorium: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _list(models: tuple[Model, ...], models_dir: Path) -> int:
    width = max((len(model.name) for model in models), default=0)
    for model in models:
        state, megabytes = model.state(models_dir, read=False), model.artefact.size / 1e6
        print(f"{model.name:<{width}}  {state:<9}  {megabytes:5.1f} MB  {model.role:<11}  {model.licence:<10}  {model.task}")
    print(f"in {models_dir}")
    return 0


def _verify(models: tuple[Model, ...], models_dir: Path) -> int:
    wrong = []
    for model in models:
        state = model.state(models_dir)
        print(f"{model.name}: {state}")
        if state is not State.INSTALLED:
            wrong.append(model.name)
    if wrong:
        print(f"sensorium: mend with: sensorium models pull {' '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0
