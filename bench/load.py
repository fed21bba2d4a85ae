"""The load: one request at a time to see that a system is right, wrk to see how fast it is."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.picture import Body
from bench.processes import Child, ChildFailed

SCRIPT = Path(__file__).parent / "wrk" / "post.lua"
ANSWER_LIMIT_S = 65.0
"""An answer may take this long: the hold time of a synchronous job and a little."""
READY_LIMIT_S = 90.0
DRAIN_LIMIT_S = 300.0
RETRY_S = 0.1


@dataclass(frozen=True)
class Target:
    """One kind of request and how to recognise its right answer. `authorization` is the value of the header, or empty."""

    url: str
    body: Body
    right: Callable[[int, Any], bool]
    authorization: str = ""


@dataclass(frozen=True)
class Figures:
    """What wrk saw: answers a second (right ones), latencies in milliseconds, and everything that went wrong."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    errors: int


def basic(client_id: str, token: str) -> str:
    """The Authorization header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{client_id}:{token}".encode()).decode()


def ask(target: Target) -> tuple[int, Any]:
    """Status and document of one request; status 0 when nobody answers."""
    headers = {"Content-Type": target.body.content_type}
    if target.authorization:
        headers["Authorization"] = target.authorization
    request = urllib.request.Request(target.url, data=target.body.content, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read(500)
    except (OSError, json.JSONDecodeError) as error:
        return 0, str(error)


def wait_right(target: Target, children: Sequence[Child], limit_s: float = READY_LIMIT_S) -> float:
    """Ask until the answer is right; the seconds it took. One job done proves gateway, broker, worker and store at once."""
    begin = time.monotonic()
    while True:
        status, document = ask(target)
        if target.right(status, document):
            return time.monotonic() - begin
        for child in children:
            child.check()
        if time.monotonic() - begin > limit_s:
            logs = "\n".join(child.last_lines() for child in children)
            raise ChildFailed(f"{target.url} answered {status} {document!r} after {limit_s:.0f} s\n{logs}")
        time.sleep(RETRY_S)


def wrk(target: Target, connections: int, seconds: float, folder: Path) -> Figures:
    """Send `target` on `connections` keep-alive connections, each its next request once the last is answered. Raises `ChildFailed`."""
    program = shutil.which("wrk")
    if program is None:
        raise ChildFailed("wrk is not installed (Debian: apt-get install wrk)")
    body = folder / "body"
    body.write_bytes(target.body.content)
    environment = {
        **os.environ,
        "BENCH_BODY": str(body),
        "BENCH_CONTENT_TYPE": target.body.content_type,
        "BENCH_AUTHORIZATION": target.authorization,
    }
    # wrk counts whole seconds. One thread: the generator must not take both cores.
    words = [
        program,
        "-t",
        "1",
        "-c",
        str(connections),
        "-d",
        f"{max(1, round(seconds))}s",
        "--timeout",
        "60s",
        "-s",
        str(SCRIPT),
        target.url,
    ]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=seconds + 120, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise ChildFailed(f"wrk ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return _figures(json.loads(lines[-1]))


def _figures(seen: dict[str, int]) -> Figures:
    right = seen["requests"] - seen["status"]
    errors = sum(seen[kind] for kind in ("status", "connect", "read", "write", "timeout"))
    return Figures(seen["requests"], right / (seen["duration_us"] / 1e6), seen["p50_us"] / 1000, seen["p99_us"] / 1000, errors)
