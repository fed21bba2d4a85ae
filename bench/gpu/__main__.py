"""`python -m bench.gpu`: what a GPU does here, into docs/benchmarks.md. `bench/gpu.sh` makes the environment and calls this."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from accounts.model import DEMO_SECRET
from bench.document import DOCUMENT, write
from bench.gpu import compare, memory, throughput
from sensorium.bench.command import walking_person
from sensorium.bench.own import own_system
from sensorium.bench.sessions import Figures, Load, measure
from sensorium.bench.sizing import Sizing, search
from shared.errors import PerceptionError
from workers.inference.onnx import OnnxModels

FPS = 10.0
USER = (DEMO_SECRET.client_id, DEMO_SECRET.access_token)
_SAMPLES = 120


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to see that all of this works (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement of throughput (%(default)s)")
    parser.add_argument("--session-seconds", type=float, default=10.0, help="length of one measurement of cameras (%(default)s)")
    parser.add_argument("--memory-seconds", type=float, default=600.0, help="for how long memory is watched (%(default)s)")
    parser.add_argument(
        "--p95", type=float, default=200.0, help="milliseconds within which nineteen of twenty frames are answered (%(default)s)"
    )
    parser.add_argument("--most", type=int, default=256, help="most cameras that are tried (%(default)s)")
    parser.add_argument("--services", nargs="+", default=(), help="only these; by default all with networks")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="where the tables go (%(default)s)")
    return parser.parse_args()


def _computing(args: argparse.Namespace) -> tuple[str, bool]:
    """The tables of what needs no gateway."""
    ours, missing = compare.loaded(args.device, args.services)
    processor, _ = compare.loaded("cpu", args.services)
    same, all_same = compare.table(ours, processor, args.device)
    print(same, flush=True)
    by_network = throughput.networks(ours, OnnxModels(), args.seconds)
    print(by_network, flush=True)
    by_service = throughput.services(ours, processor, args.seconds)
    print(by_service, flush=True)
    left_out = "".join(f"\nNot loaded: {name}: {reason}" for name, reason in missing.items())
    return f"{same}\n{left_out}\n\n{by_network}\n\n{by_service}", all_same


def _cameras(args: argparse.Namespace) -> tuple[str, bool]:
    """How many cameras, and memory while they run (one, where none is carried)."""
    pictures = walking_person()

    def load(streams: int, seconds: float) -> Figures:
        figures = asyncio.run(measure(url, USER, Load(streams, pictures, FPS, seconds)))
        print(figures, flush=True)
        return figures

    with own_system("scene_analysis", {"SENSORIUM_DEVICE": args.device}) as (url, pid):
        found = search(lambda streams: load(streams, args.session_seconds), args.p95, args.most)
        sizing = Sizing.of(found, FPS, args.p95)
        carried = sizing.streams if sizing else 0
        with memory.Watched(pid, args.memory_seconds / _SAMPLES) as watched:
            load(max(1, int(0.8 * carried)), args.memory_seconds)
    rows = ["| cameras | p50 ms | p95 ms | p99 ms | frames without an answer | carried |", "|---:|---:|---:|---:|---:|---|"]
    for one in found:
        cells = f"| {one.sessions} | {one.p50_ms:.0f} | {one.p95_ms:.0f} | {one.p99_ms:.0f} | {one.frames - one.answered} |"
        rows.append(f"{cells} {'yes' if one.carried(args.p95) else 'no'} |")
    of_card, card_flat = memory.row("card", watched.card)
    of_process, process_flat = memory.row("process", watched.resident)
    text = f"""`scene_analysis`, {FPS:g} frames a second a camera, nineteen of twenty within {args.p95:g} ms: **{carried} cameras**.

{chr(10).join(rows)}

Memory over {args.memory_seconds:g} s of {max(1, int(0.8 * carried))} cameras:

| MiB | once warm | at the end | at most | growth |
|---|---:|---:|---:|---:|
{of_card}
{of_process}"""
    print(text, flush=True)
    return text, card_flat and process_flat


def main() -> int:
    """0 when the answers are the same and memory stays what it is, else 1; 69 when the device is not usable."""
    args = _arguments()
    try:
        computing, same = _computing(args)
        cameras, flat = _cameras(args)
    except PerceptionError as error:
        print(f"bench.gpu: {error.message}", file=sys.stderr)
        return 69
    head = f"## On {args.device}\n\n{memory.card()}; {len(os.sched_getaffinity(0))} cores; {datetime.now(UTC):%Y-%m-%d}. {_LEGEND}"
    write("gpu" if args.device == "cuda" else "gpu-on-cpu", f"{head}\n\n{computing}\n\n{cameras}", args.document)
    print(f"written: {args.document}")
    for right, fault in ((same, "answers differ from those on the processor"), (flat, "memory grew")):
        if not right:
            print(f"bench.gpu: {fault}", file=sys.stderr)
    return 0 if same and flat else 1


_LEGEND = (
    f"Allowed are {compare.PIXELS} pixels, and {compare.SHARE:.0%} (or {compare.SHARE}) of any other number, over frames of somebody who walks. "
    "The load of the cameras comes from the same machine."
)

if __name__ == "__main__":
    sys.exit(main())
