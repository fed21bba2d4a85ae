"""The load of cameras: sessions that each send a frame at every tick of their clock, whether the last one was answered or not."""

from __future__ import annotations

import asyncio
import json
import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

#: A frame that finds so many of its session unanswered is dropped, as a camera would.
MOST_IN_FLIGHT = 20
#: An answer that takes longer than this, in seconds, is none.
_ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """``sessions`` cameras of ``fps`` frames a second each, for ``warm_up`` seconds and then ``seconds`` that count.

    ``frames``: the pictures that every camera shows over and over, encoded; each begins at another one. ``parameters`` go with each
    frame, beside its timestamp and session.
    """

    sessions: int
    frames: Sequence[bytes]
    fps: float = 10.0
    seconds: float = 10.0
    warm_up: float = 3.0
    service: str = "scene_analysis"
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the cameras saw. Latencies in milliseconds, from a frame's tick to its whole answer; ``dropped`` frames were not sent, ``errors``
    were answered with anything but a result."""

    sessions: int
    frames: int
    answered: int
    dropped: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    def carried(self, p95_ms: float = 500.0) -> bool:
        """Whether every frame was answered, nineteen of twenty within that time."""
        return self.answered == self.frames and self.p95_ms < p95_ms


class _Camera:
    """One session. Its frames are sent in order: requests overtake each other only once they are on their way."""

    def __init__(self, client: aiohttp.ClientSession, load: Load, number: int, begin: float) -> None:
        self._client, self._load, self._number, self._begin = client, load, number, begin
        self._session = f"load-{uuid.uuid4().hex}"
        self._url = f"/services/{load.service}/1/jobs"
        self.latencies: list[float] = []
        self.frames = self.dropped = self.errors = 0

    async def run(self) -> None:
        """Send all frames, and wait for the answers."""
        load, sending = self._load, set[asyncio.Task[None]]()
        shift = self._number / load.sessions / load.fps  # cameras do not tick together
        for tick in range(round((load.warm_up + load.seconds) * load.fps)):
            at = self._begin + shift + tick / load.fps
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            counts = tick >= load.warm_up * load.fps
            self.frames += counts
            if len(sending) >= MOST_IN_FLIGHT:
                self.dropped += counts
                continue
            task = asyncio.create_task(self._send(tick, at, counts))
            sending.add(task)
            task.add_done_callback(sending.discard)
        await asyncio.gather(*sending)

    async def _send(self, tick: int, at: float, counts: bool) -> None:
        load = self._load
        picture = load.frames[(tick + self._number * len(load.frames) // load.sessions) % len(load.frames)]
        meta = {
            **load.parameters,
            "async": False,
            "image": "attachment://frame",
            "timestamp": datetime.now(UTC).isoformat(),
            "state": {"session_id": self._session},
        }
        form = aiohttp.FormData()
        form.add_field("meta", json.dumps(meta), content_type="application/json")
        form.add_field("attachment://frame", picture, filename="frame.jpg", content_type="image/jpeg")
        try:
            async with self._client.post(self._url, data=form) as response:
                await response.read()
                right = response.status == 201
        except (aiohttp.ClientError, TimeoutError):
            right = False
        if not counts:
            return
        if right:
            self.latencies.append(time.monotonic() - at)
        else:
            self.errors += 1


async def measure(url: str, user: tuple[str, str], load: Load) -> Figures:
    """Put the load on the Sensorium at ``url`` with a stream's (client_id, access_token)."""
    headers = {"Authorization": aiohttp.encode_basic_auth(*user)}
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url.rstrip("/"), headers=headers, timeout=timeout, connector=connector) as client:
        begin = time.monotonic()
        cameras = [_Camera(client, load, number, begin) for number in range(load.sessions)]
        await asyncio.gather(*(camera.run() for camera in cameras))
    latencies = sorted(1000 * value for camera in cameras for value in camera.latencies)
    return Figures(
        sessions=load.sessions,
        frames=sum(camera.frames for camera in cameras),
        answered=len(latencies),
        dropped=sum(camera.dropped for camera in cameras),
        errors=sum(camera.errors for camera in cameras),
        p50_ms=_percentile(latencies, 50),
        p95_ms=_percentile(latencies, 95),
        p99_ms=_percentile(latencies, 99),
    )


def _percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest rank; infinite for nothing."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else float("inf")
