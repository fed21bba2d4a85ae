"""`python -m bench dummy|faces|streams|services|sessions|frame|visits|all`: measure Sensorium beside its peers and write the tables."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench import facts, per_frame, report, servers_alone, session_parts
from bench import services as service_costs
from bench import sessions as scenes
from bench import streams as cameras
from bench import visits as visit_questions
from bench.measure import BARE_LOOP, Plan, Sample, run
from bench.processes import ChildFailed, listener
from bench.systems import DUMMY, FACES, Servers, Start, model_file


@contextmanager
def servers() -> Iterator[Servers]:
    """A broker and a store of our own, each on a free port, for as long as the comparison runs."""
    from tests.servers import start_rabbitmq, start_redis

    with tempfile.TemporaryDirectory(prefix="sensorium-bench-") as name:
        folder = Path(name)
        for part in ("rabbitmq", "redis", "work"):
            (folder / part).mkdir()
        with start_rabbitmq(folder / "rabbitmq") as broker, start_redis(folder / "redis") as store:
            groups = {"broker": listener(broker.url), "redis": listener(store.url)}
            yield Servers(folder / "work", broker.url, store.url, groups=groups)


def dummy(args: argparse.Namespace, where: Servers) -> None:
    """`dummy` synchronously and asynchronously, 16 connections."""
    plan = Plan(_chosen(DUMMY, args.only), ("sync", "async"), connections=16, rounds=args.rounds, seconds=args.seconds)
    samples = list(run(plan, where))
    versions = {**facts.dummy(), **facts.servers(where)}
    text = [_head("A small job through gateway, broker, worker and store", plan, versions)]
    text += ["Synchronous (the caller waits for the result):", report.table(samples, "sync", "taskiq")]
    text += ["Asynchronous (accepted once the broker has confirmed it):", report.table(samples, "async", "taskiq"), report.noise(samples)]
    _finish("dummy", samples, versions, "\n\n".join(text), args)


def faces(args: argparse.Namespace, where: Servers) -> None:
    """`face_detection` of a 640×480 JPEG, 8 connections."""
    bare = args.only is None or BARE_LOOP in args.only
    plan = Plan(_chosen(FACES, args.only), ("faces",), connections=8, rounds=args.rounds, seconds=args.seconds, bare_loop=bare)
    samples = list(run(plan, replace(where, model=model_file())))
    head = _head("Faces in a 640×480 JPEG, two workers, one thread a session", plan, facts.faces())
    text = [head, report.table(samples, "faces", BARE_LOOP), report.noise(samples)]
    _finish("faces", samples, facts.faces(), "\n\n".join(text), args)


def streams(args: argparse.Namespace, where: Servers) -> None:
    """One camera: a request a frame, and the two forms of a stream."""
    shots = list(cameras.run(where, args.rounds, args.seconds))
    versions = {"aiohttp": facts.dummy()["aiohttp"], **facts.servers(where)}
    how = f"{args.rounds} rounds of {args.seconds:g} s each, {datetime.now(UTC):%Y-%m-%d}."
    head = f"## Frames of one camera\n\n{cameras.__doc__}\n{how} {facts.sentence(facts.machine())} {facts.sentence(versions)}"
    text = f"{head}\n\n{cameras.tables(shots)}"
    print(f"\n{text}\n")
    print(report.save("streams", shots, {**facts.machine(), **versions}), file=sys.stderr)
    if not args.no_docs:
        report.write("streams", text)


def services(args: argparse.Namespace) -> None:
    """The processor's time of each service, one thread, without any server."""
    head = f"## What an input costs\n\n{service_costs.__doc__}\n{facts.sentence(facts.machine())}"
    text = f"{head}\n\n{service_costs.table()}"
    if not args.no_docs:
        report.write("services", text)


def sessions(args: argparse.Namespace, where: Servers) -> None:
    """Cameras of `scene_analysis`: how many are carried, and where a frame's time goes."""
    how = f"{args.rounds} rounds of {max(args.seconds, scenes.LOOP_S):g} s each, {datetime.now(UTC):%Y-%m-%d}. {facts.sentence(facts.machine())}"
    found = scenes.table(where, args.rounds, args.seconds)
    text = f"## Cameras\n\n{scenes.__doc__}\n{how}\n\n{found}\n\n{session_parts.__doc__}\n{session_parts.table(scenes.frames())}"
    print(f"\n{text}\n")
    if not args.no_docs:
        report.write("sessions", text)


def frame(args: argparse.Namespace, where: Servers) -> None:
    """What one frame of a session asks of the store."""
    head = (
        f"## One frame\n\n{per_frame.__doc__}\n{datetime.now(UTC):%Y-%m-%d}. {facts.sentence({**facts.machine(), **facts.servers(where)})}"
    )
    alone = f"{servers_alone.__doc__}\n{servers_alone.table(where, args.seconds)}"
    text = f"{head}\n\n{per_frame.table(where, max(args.seconds, 30.0))}\n\n{alone}"
    print(f"\n{text}\n")
    if not args.no_docs:
        report.write("frame", text)


def visits(args: argparse.Namespace) -> None:
    """Questions about a year of visits, on SQLite and PostgreSQL."""
    head = f"## {args.visits:,} visits in a year\n\n{visit_questions.__doc__}\n{facts.sentence(facts.machine())}"
    text = f"{head}\n\n{visit_questions.table(args.visits)}"
    print(f"\n{text}\n")
    if not args.no_docs:
        report.write("visits", text)


def _head(title: str, plan: Plan, versions: Mapping[str, str]) -> str:
    how = f"{plan.connections} connections, {plan.rounds} rounds of {plan.seconds:g} s each, {datetime.now(UTC):%Y-%m-%d}."
    return f"## {title}\n\n{how} {facts.sentence(facts.machine())} {facts.sentence(versions)}"


def _finish(name: str, samples: Sequence[Sample], versions: Mapping[str, str], text: str, args: argparse.Namespace) -> None:
    print(f"\n{text}\n")
    print(report.save(name, samples, {**facts.machine(), **versions}), file=sys.stderr)
    if args.only is None and not args.no_docs:
        report.write(name, text)


def _chosen(systems: Mapping[str, Start], only: Sequence[str] | None) -> dict[str, Start]:
    return {name: start for name, start in systems.items() if only is None or name in only}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=("dummy", "faces", "streams", "services", "sessions", "frame", "visits", "all"), default="all"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one measurement (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that every system has its turn (%(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="cores for everything together, the load included (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="SYSTEM", choices=[*DUMMY, *FACES, BARE_LOOP], help="leave the others out")
    parser.add_argument("--visits", type=int, default=2_000_000, help="visits in the year (%(default)s)")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    return parser.parse_args()


def main() -> int:
    """Run what was asked for; 1 if a system failed."""
    args = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that children are stopped on the way out
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])  # inherited by all that is started from here on
    try:
        if args.what in ("services", "all"):
            services(args)
        if args.what in ("visits", "all"):
            visits(args)
        if args.what in ("services", "visits"):
            return 0
        with servers() as where:
            if args.what in ("dummy", "all"):
                dummy(args, where)
            if args.what in ("faces", "all"):
                faces(args, where)
            if args.what in ("streams", "all"):
                streams(args, where)
            if args.what in ("sessions", "all"):
                sessions(args, where)
            if args.what in ("frame", "all"):
                frame(args, where)
    except ChildFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
