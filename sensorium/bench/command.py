"""``sensorium bench``: how many streams this machine carries, and what that means for many."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from accounts.model import DEMO_SECRET
from sensorium.bench.own import own_system
from sensorium.bench.sessions import Figures, Load, measure
from sensorium.bench.sizing import HEADROOM, Sizing, search
from sensorium.streams import credentials
from shared.errors import InvalidParameter
from shared.jobs import queue_of
from shared.settings import read_settings
from workers.catalog import load_catalog
from workers.contract import Image
from workers.faces import drawn_face
from workers.runtime.cpus import usable_cpus

EXIT_NOTHING_CARRIED = 1
_STEPS = 20  # pictures of the drawn person, on the way from one side to the other and back
_STRIDE = 8  # pixels between two of them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `sensorium bench`."""
    parser.add_argument("--service", default="scene_analysis", help="a service that takes pictures (%(default)s)")
    parser.add_argument("--fps", type=float, default=10.0, help="frames a second of each stream (%(default)s)")
    parser.add_argument(
        "--p95", type=float, default=500.0, metavar="MS", help="nineteen of twenty frames are answered within this time (%(default)s)"
    )
    parser.add_argument("--streams", type=int, default=100, metavar="N", help="say what so many streams need (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement, after three of warming up (%(default)s)")
    parser.add_argument("--most", type=int, default=256, help="stop at so many streams (%(default)s)")
    parser.add_argument(
        "--picture", type=Path, nargs="+", help="JPEG files of your cameras, sent in turn; by default a drawn person who walks"
    )
    parser.add_argument("--url", help="a running Sensorium to measure; by default one is started for it on this machine, and ends with it")
    parser.add_argument("--user", metavar="CLIENT_ID:ACCESS_TOKEN", help="credentials of a stream there")


def run(args: argparse.Namespace) -> int:
    """Measure and print. Returns 1 when not even one stream is carried. Raises `InvalidParameter` and `Unavailable`."""
    _check(args)
    pictures = _pictures(args.picture)
    with ExitStack() as stack:
        url = args.url or stack.enter_context(own_system(args.service))[0]
        secret = credentials(args.user, None) if args.url else DEMO_SECRET
        user = (secret.client_id, secret.access_token)
        print(f"{args.service} at {args.fps:g} frames a second a stream, nineteen of twenty answered within {args.p95:g} ms")
        print(f"Load average before: {os.getloadavg()[0]:.1f} on {usable_cpus()} cores. What other programs take, streams do not get.")
        print(f"{'streams':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'not answered':>14}  carried")

        def trial(streams: int) -> Figures:
            load = Load(streams, pictures, args.fps, args.seconds, service=args.service)
            figures = asyncio.run(measure(url, user, load))
            print(_row(figures, args.p95), flush=True)
            return figures

        found = search(trial, args.p95, args.most)
    sizing = Sizing.of(found, args.fps, args.p95)
    if sizing is None:
        print("\nNot even one stream is carried: fewer frames a second, smaller pictures, a faster machine or a GPU.")
        return EXIT_NOTHING_CARRIED
    print(_advice(args, sizing))
    return 0


def _check(args: argparse.Namespace) -> None:
    kinds = {name: kind for (name, _), kind in load_catalog(read_settings().extra_services).items()}
    kind = kinds.get(args.service)
    if kind is None or "image" not in kind.input_type.model_fields:
        known = ", ".join(sorted(name for name, kind in kinds.items() if "image" in kind.input_type.model_fields))
        raise InvalidParameter(f"--service {args.service}: takes no pictures; those that do: {known}")
    for name in ("fps", "p95", "streams", "seconds", "most"):
        if not getattr(args, name) > 0:
            raise InvalidParameter(f"--{name}: must be more than 0")


def _pictures(paths: Sequence[Path] | None) -> list[bytes]:
    if paths is None:
        return walking_person()
    try:
        return [path.read_bytes() for path in paths]
    except OSError as error:
        raise InvalidParameter(f"--picture {error.filename}: {error.strerror}") from None


def walking_person() -> list[bytes]:
    """JPEGs of 640 x 480: a drawn face that moves to and fro."""
    picture = Image(drawn_face()).pixels
    places = [_STRIDE * (step - _STEPS // 2) for step in range(_STEPS)]
    moved = [np.roll(picture, place, axis=1) for place in (*places, *reversed(places))]
    return [cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes() for view in moved]


def _row(figures: Figures, p95_ms: float) -> str:
    missing = figures.frames - figures.answered
    cells = f"{figures.sessions:>8}{figures.p50_ms:>9.0f}{figures.p95_ms:>9.0f}{figures.p99_ms:>9.0f}{missing:>14}"
    return f"{cells}  {'yes' if figures.carried(p95_ms) else 'no'}"


def _advice(args: argparse.Namespace, sizing: Sizing) -> str:
    """What was found, for so many streams, in the terms of the files under deploy/."""
    where = "That system" if args.url else f"This machine ({usable_cpus()} cores, {read_settings().device})"
    queue = f"{read_settings().namespace}.{queue_of(args.service, 1)}"
    lines = [
        "",
        f"{where} carries {sizing.streams} streams: {sizing.streams * args.fps:g} frames a second.",
        f"{args.streams} streams need {sizing.workers(args.streams)} like it, each used to {HEADROOM:.0%}.",
        f"KEDA, for workers of this size, in the ScaledObject worker-{args.service.replace('_', '-')} (deploy/k8s; queue {queue}):",
        f'  value: "{sizing.messages()}"    # messages a worker, waiting and in hand',
        f"  maxReplicaCount: {sizing.most_replicas(args.streams)}",
    ]
    if not args.url:
        lines.append(
            "Gateway, broker, store and the load itself took their share of this machine: workers on machines of their own carry more."
        )
    return "\n".join(lines)
