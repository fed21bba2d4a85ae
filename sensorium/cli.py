"""The command ``sensorium``: each subcommand reads the settings, then hands over to the part of the house it names."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from shared.errors import PerceptionError
from shared.settings import SettingsError, describe, example, read_settings

EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69


def _up(args: argparse.Namespace) -> int:
    from sensorium.processes.embedded import run

    return run(read_settings(host=args.host, port=args.port), args.services)


def _gateway(args: argparse.Namespace) -> int:
    from sensorium.processes.gateway import run

    return run(read_settings(host=args.host, port=args.port, faces=args.faces))


def _worker(args: argparse.Namespace) -> int:
    from sensorium.processes.worker import check, choose, run

    settings = read_settings(device=args.device, health_port=args.health_port)
    kinds = choose(args.names or ["all"], settings)
    if args.list:
        for kind in kinds:
            print(f"{kind.name:28} {kind.version}  {kind.description().splitlines()[0]}")
        return 0
    if args.check:
        check(kinds, settings)
        return 0
    if not args.names:
        raise SettingsError("name the services to work for, or `all`; `sensorium worker --list` shows them")
    return run(kinds, settings)


def _models(args: argparse.Namespace) -> int:
    from models.commands import Place, run
    from models.manifest import DEFAULT_DIRECTORY, load_manifest
    from models.restrict import SOURCES, restricted
    from workers.catalog import load_catalog

    settings = read_settings()
    sources = settings.source_kinds
    if unknown := [source for source in sources if source not in SOURCES]:
        raise SettingsError(f"SENSORIUM_MODEL_SOURCES: {unknown[0]!r} is none of {', '.join(SOURCES)}")

    def services() -> dict[str, tuple[str, ...]]:
        kinds = load_catalog(settings.extra_services).values()
        fewest_first = sorted(kinds, key=lambda kind: len(kind.models))  # a model is best explained by the service that needs little else
        return {kind.name: tuple(kind.models) for kind in fewest_first}

    mirror = settings.models_mirror if "mirror" in sources else None
    directory = settings.models_dir or DEFAULT_DIRECTORY
    return run(args, Place(directory, mirror, restricted(load_manifest(), sources), services, settings.preferred_models))


def _account(args: argparse.Namespace) -> int:
    from accounts.commands import run
    from sensorium.processes.secret import with_secret

    return asyncio.run(run(args, with_secret(read_settings())))


def _recorder(args: argparse.Namespace) -> int:
    from sensorium.processes.recorder import run

    return run(read_settings(health_port=args.health_port))


def _visits(args: argparse.Namespace) -> int:
    from analytics.commands import run

    return asyncio.run(run(args, read_settings()))


def _migrate(args: argparse.Namespace) -> int:
    settings = read_settings()
    if args.copy_from is not None:
        from sensorium.copying import copy

        for table, rows in asyncio.run(copy(args.copy_from, settings.database_url)).items():
            print(f"{table}: {rows} rows")
        return 0
    from sensorium.migrate import migrate

    asyncio.run(migrate(settings.database_url))
    print("the database is up to date")
    return 0


def _settings(args: argparse.Namespace) -> int:
    if args.example:
        sys.stdout.write(example())
        return 0
    for variable, value, description in describe(read_settings()):
        print(f"{variable}={value}\n    {description}")
    return 0


def _analyze(args: argparse.Namespace) -> int:
    from sensorium.analyze import run

    return run(args)


def _bench(args: argparse.Namespace) -> int:
    from sensorium.bench.command import run

    return run(args)


def _demo(args: argparse.Namespace) -> int:
    from sensorium.demo import run

    return run(args.url, args.picture)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sensorium", description="Perception as a service that you run yourself.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, does: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(does=does)
        return sub

    up = command("up", _up, "Serve everything on one port, in one process, without servers.")
    up.add_argument("services", nargs="*", default=["all"], help="the services to serve; all by default")
    gateway = command("gateway", _gateway, "Serve the HTTP API over a broker and a store.")
    for sub in (up, gateway):
        sub.add_argument("--host", help="address to listen on")
        sub.add_argument("--port", type=int, help="port to listen on; 0 takes a free one")
    gateway.add_argument("--faces", help="what to serve: gate, console and data, separated by commas; all by default")
    worker = command("worker", _worker, "Work for services over a broker and a store.")
    worker.add_argument("names", nargs="*", metavar="NAME", help="services, or `all`")
    worker.add_argument("--list", action="store_true", help="show the services and end")
    worker.add_argument("--check", action="store_true", help="load the services, run their examples and end")
    worker.add_argument("--device", choices=("cpu", "cuda"), help="where networks run")
    worker.add_argument("--health-port", type=int, help="serve /healthz, /readyz and /metrics here")
    recorder = command("recorder", _recorder, "Write what workers tell of visits into the database.")
    recorder.add_argument("--health-port", type=int, help="serve /healthz, /readyz and /metrics here")
    _add_kept_commands(command)
    settings = command("settings", _settings, "Show every setting, secrets masked.")
    settings.add_argument("--example", action="store_true", help="print the text of .env.example")
    _add_of_pictures(command)
    demo = command("demo", _demo, "Send a photograph to a running Sensorium and print the faces in it.")
    demo.add_argument("--url", default="http://127.0.0.1:8000", help="where it runs")
    demo.add_argument("--picture", type=Path, help="a JPEG or PNG file; by default a public-domain photograph of an astronaut")
    return parser


def _add_of_pictures(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that need OpenCV, which takes a quarter of a second to load: no other command should pay that."""
    analyze = command("analyze", _analyze, "Send a video or a camera to the scene analysis of a running Sensorium.")
    bench = command("bench", _bench, "Find how many streams this machine carries, and what many of them need.")
    if "analyze" in sys.argv[1:2]:
        from sensorium.analyze import add_arguments

        add_arguments(analyze)
    elif "bench" in sys.argv[1:2]:
        from sensorium.bench.command import add_arguments as add_bench_arguments

        add_bench_arguments(bench)


def _add_kept_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands over what is kept: weights, accounts, visits, the database."""
    from accounts.commands import add_arguments as add_account_arguments
    from analytics.commands import add_arguments as add_visit_arguments
    from models.commands import add_arguments as add_model_arguments

    add_model_arguments(command("models", _models, "Pull, list and verify the weights of the networks."))
    add_account_arguments(command("account", _account, "Accounts and the credentials of their streams."))
    add_visit_arguments(command("visits", _visits, "Delete what is kept of visits."))
    migrate = command("migrate", _migrate, "Create or update the tables of the database.")
    migrate.add_argument("--copy-from", metavar="URL", help="then copy everything of this database into it, which must be empty")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, by default the process's own; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        does: Callable[[argparse.Namespace], int] = args.does
        return does(args)
    except SettingsError as error:
        print(f"sensorium: {error}", file=sys.stderr)
        return EXIT_USAGE
    except PerceptionError as error:
        print(f"sensorium: {error.message}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
