"""Memory under a mixed load: thousands of jobs of many sizes, and what the processes hold after the first thousand and at the end.

`python -m bench.memory http://127.0.0.1:8000 --pid PID` for a running instance; tests import `mixed_load` and `resident`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import aiohttp
import psutil

from bench import picture
from bench.credentials import DEMO
from bench.load import basic

SIZES = ((160, 120), (320, 240), (640, 480), (1280, 960), (1920, 1080))
"""Widths and heights of the pictures, pixels."""
ECHOES = (10, 100, 1_000, 10_000, 100_000)
"""Lengths of the echoed texts, characters."""
SEED = 7


@dataclass(frozen=True)
class Job:
    """One request: where to, what, and what its answer must hold."""

    path: str
    body: picture.Body
    key: str
    value: object


@dataclass(frozen=True)
class Growth:
    """Resident bytes of one process after the first jobs and at the end."""

    pid: int
    early: int
    late: int

    @property
    def ratio(self) -> float:
        """Late over early: 1.05 is five per cent more."""
        return self.late / self.early


class WrongAnswer(Exception):
    """A job of the load got something else than its result."""


def jobs_of(services: Sequence[str] = ("dummy", "face_detection"), seed: int = SEED) -> Iterator[Job]:
    """An endless mixture for some of the two services, the same for the same seed: sizes are spread evenly over their kinds."""
    chance = random.Random(seed)
    bodies = {size: picture.job_form(picture.photograph(*size)) for size in SIZES} if "face_detection" in services else {}
    while True:
        service = chance.choice(services)
        if service == "dummy":
            # A text of its own for each job: equal ones might be shared somewhere and hide what is kept.
            text = f"{chance.getrandbits(64):016x}" * (chance.choice(ECHOES) // 16 + 1)
            yield Job("/services/dummy/1/jobs", picture.document({"echo": text, "async": False}), "echo", text)
        else:
            yield Job("/services/face_detection/1/jobs", bodies[chance.choice(SIZES)], "nb_faces", 1)


async def mixed_load(
    base_url: str, auth: tuple[str, str], jobs: int, *, mixture: Iterator[Job] | None = None, concurrency: int = 8, limit_s: float = 120.0
) -> None:
    """Do `jobs` synchronous jobs, `concurrency` at a time, and check each answer. `auth`: client id and access token of a stream.

    `limit_s`: the longest that a job may take. Raises `WrongAnswer` at the first that is not its right result, aiohttp's errors when
    nobody answers. Give the same `mixture` to several calls to go on where one ended.
    """
    work = itertools.islice(jobs_of() if mixture is None else mixture, jobs)
    timeout = aiohttp.ClientTimeout(total=limit_s)
    headers = {"Authorization": basic(*auth)}
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(_one_after_another(session, base_url.rstrip("/"), work))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _one_after_another(session: aiohttp.ClientSession, base_url: str, work: Iterator[Job]) -> None:
    for job in work:
        headers = {"Content-Type": job.body.content_type}
        async with session.post(base_url + job.path, data=job.body.content, headers=headers) as answer:
            if answer.status != 201:
                raise WrongAnswer(f"{job.path} with {len(job.body.content)} bytes: {answer.status} {(await answer.text())[:300]}")
            document = await answer.json()
            if document.get(job.key) != job.value:
                raise WrongAnswer(f"{job.path} with {len(job.body.content)} bytes: {str(document)[:300]}")


def resident(pid: int) -> int:
    """Resident bytes of a process and its descendants."""
    root = psutil.Process(pid)
    total = 0
    for member in [root, *root.children(recursive=True)]:
        total += member.memory_info().rss
    return total


async def growth(pids: Sequence[int], load: Callable[[int], Awaitable[None]], first: int = 1_000, jobs: int = 10_000) -> list[Growth]:
    """Resident bytes after `first` jobs and after all `jobs`. `load(n)` does n further jobs, as `mixed_load` with one mixture does."""
    await load(first)
    early = {pid: resident(pid) for pid in pids}
    await load(jobs - first)
    return [Growth(pid, early[pid], resident(pid)) for pid in pids]


async def _main(args: argparse.Namespace) -> int:
    mixture = jobs_of(args.services)
    client_id, _, token = args.user.partition(":")

    async def load(jobs: int) -> None:
        await mixed_load(args.url, (client_id, token), jobs, mixture=mixture, concurrency=args.concurrency)

    found = await growth(args.pid, load, args.first, args.jobs)
    for one in found:
        print(
            f"pid {one.pid}: {one.early / 2**20:.1f} MiB after {args.first}, {one.late / 2**20:.1f} MiB after {args.jobs}: {one.ratio:.3f}"
        )
    return 1 if any(one.ratio > args.most for one in found) else 0


def main() -> int:
    """The command line; 1 if a process grew beyond what was allowed."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("url", help="where it runs")
    parser.add_argument("--pid", type=int, nargs="+", required=True, help="processes to watch, descendants included")
    parser.add_argument("--user", default=":".join(DEMO), help="client_id:access_token (the demo stream's)")
    parser.add_argument("--services", nargs="+", default=["dummy", "face_detection"], choices=["dummy", "face_detection"])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=1_000)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--most", type=float, default=1.05, help="largest allowed ratio of late to early (%(default)s)")
    return asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
