"""One camera with 640×480 JPEGs of 57 kB, in a session: a request for each frame, or a stream in its two forms.

*POST* sends a frame once the one before it is answered, as `process()` of the client does; *POST, 8 at a time* has eight requests under way.
The stream forms send ahead, at most eight frames unanswered. *At full speed* a frame waits for those ahead of it; *at ten frames a second*
there are none, and its latency is what a live picture waits: from its first byte to the end of its answer. `dummy` does not look at the
picture, so what is measured is the way there and back. The client (Python, aiohttp) is the same for all, and shares the cores.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import aiohttp

from bench import picture
from bench.load import wait_right
from bench.measure import Meter, cpu_seconds
from bench.processes import ChildFailed, Group
from bench.report import noise, spread
from bench.systems import Servers, distributed, embedded, faces_target

SERVICES = ("dummy", "face_detection")
SYSTEMS = {"embedded": embedded, "distributed": distributed}
AHEAD = 8
PACE = 10.0
_WARM_UP_S = 1.0
_TURN_S = 1.0
_LIMIT_S = 60.0
_MULTIPART = {"Content-Type": "multipart/x-mixed-replace; boundary=myboundary"}


@dataclass(frozen=True)
class Shot:
    """One form in one round: frames a second, latencies in milliseconds, server CPU milliseconds a frame by role.

    `others`: the share of the cores, 0..1, that programs outside the bench took while the forms of the service took turns.
    """

    system: str
    service: str
    form: str
    round: int
    rate: float
    p50_ms: float
    p95_ms: float
    paced_p50_ms: float
    paced_p95_ms: float
    cpu_ms: Mapping[str, float]
    errors: int
    others: float


@dataclass
class Camera:
    """Who sends, to where, until when (`time.perf_counter`). `pace`: frames a second, 0 for as many as are answered."""

    client: aiohttp.ClientSession
    service: str
    pace: float
    ends: float
    jpeg: bytes = field(default_factory=picture.photograph)
    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    _sent: deque[float] = field(default_factory=deque)
    _due: float = 0.0
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AHEAD))

    async def next(self) -> float | None:
        """Wait until a frame may go; when it went, or None when the time is over."""
        await self._room.acquire()
        if self.pace:
            self._due = max(self._due + 1 / self.pace, time.perf_counter() - 1 / self.pace)
            await asyncio.sleep(self._due - time.perf_counter())
        now = time.perf_counter()
        if now > self.ends:
            return None
        self._sent.append(now)
        return now

    def answered(self, document: Mapping[str, Any], sent: float | None = None) -> None:
        """An answer has come: of the frame that was sent then, or of the oldest."""
        begin = self._sent.popleft()
        self._room.release()
        if document["status"] >= 500:  # the broker, say, took longer than it may
            self.errors += 1
        elif document["status"] != 201 or document.get("count", document.get("nb_faces")) is None:
            raise ChildFailed(f"a wrong answer: {document}")
        else:
            self.latencies.append(time.perf_counter() - (begin if sent is None else sent))

    async def all_answered(self) -> None:
        """Return once no answer is owed; after `next` said that the time is over."""
        for _ in range(AHEAD - 1):
            await self._room.acquire()

    async def stream(self) -> dict[str, Any]:
        """The document of a new stream."""
        async with self.client.post(f"/services/{self.service}/1/streams", json={}) as response:
            made: dict[str, Any] = await response.json()
            return made


async def by_post(camera: Camera, at_a_time: int = 1) -> None:
    """A synchronous job for each frame."""
    meta = {"async": False, "image": "attachment://bar", "state": {"session_id": uuid.uuid4().hex}}
    body = picture.form([("attachment://bar", "image/jpeg", camera.jpeg), ("meta", "application/json", json.dumps(meta).encode())])
    headers = {"Content-Type": body.content_type}

    async def send() -> None:
        while (sent := await camera.next()) is not None:
            async with camera.client.post(f"/services/{camera.service}/1/jobs", data=body.content, headers=headers) as response:
                camera.answered(await response.json(), sent)

    await asyncio.gather(*(send() for _ in range(at_a_time)))


async def by_posts(camera: Camera) -> None:
    """Several at a time."""
    await by_post(camera, AHEAD)


async def by_multipart(camera: Camera) -> None:
    """The input and the output of the original API."""
    stream = await camera.stream()
    head = f"--myboundary\r\nContent-Type: image/jpeg\r\nContent-Length: {len(camera.jpeg)}\r\nX-Angus-DataField: image\r\n"
    part = head.encode() + b"X-Angus-Parameters: {}\r\n\r\n" + camera.jpeg + b"\r\n"

    async def frames() -> AsyncIterator[bytes]:
        while await camera.next() is not None:
            yield part
        yield b"--myboundary--"

    async def send() -> None:
        async with camera.client.post(stream["input"], data=frames(), headers=_MULTIPART) as response:
            response.raise_for_status()

    sending = asyncio.create_task(send())
    async with camera.client.get(stream["output"]) as response:
        while await response.content.readuntil(b"\r\n") == b"--myboundary\r\n":
            header = await response.content.readuntil(b"\r\n\r\n")
            length = int(header.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            camera.answered(json.loads(await response.content.readexactly(length)))
            await response.content.readexactly(2)
    await sending


async def by_websocket(camera: Camera) -> None:
    """Binary messages in, text messages out."""
    stream = await camera.stream()
    async with camera.client.ws_connect(stream["websocket"], max_msg_size=0) as socket:

        async def send() -> None:
            while await camera.next() is not None:
                await socket.send_bytes(camera.jpeg)
            await camera.all_answered()
            await socket.close()

        sending = asyncio.create_task(send())
        while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            camera.answered(json.loads(message.data))
        await sending


FORMS: dict[str, Callable[[Camera], Awaitable[None]]] = {
    "POST": by_post,
    f"POST, {AHEAD} at a time": by_posts,
    "multipart": by_multipart,
    "WebSocket": by_websocket,
}


async def drive(url: str, authorization: str, service: str, form: str, seconds: float, pace: float) -> Camera:
    """A camera that has sent for so long."""
    async with aiohttp.ClientSession(url, headers={"Authorization": authorization}) as client, asyncio.timeout(seconds + _LIMIT_S):
        camera = Camera(client, service, pace, time.perf_counter() + seconds)
        await FORMS[form](camera)
        return camera


def run(servers: Servers, rounds: int, seconds: float) -> Iterator[Shot]:
    """Every system in every round. A service's forms take turns of a second, so that what else the machine does falls on all alike."""
    for number in range(rounds):
        for system, start in SYSTEMS.items():
            with ExitStack() as stack:
                base, authorization, children = start(servers, stack, *SERVICES)
                wait_right(faces_target(base, authorization), list(children.values()))
                groups = {**{role: child.group for role, child in children.items()}, **(servers.groups if system == "distributed" else {})}
                for service in SERVICES:
                    for form in FORMS:
                        asyncio.run(drive(base, authorization, service, form, _WARM_UP_S, 0.0))
                    turns = [_Turns(base, authorization, service, form, groups) for form in FORMS]
                    meter, begin, own = Meter(), _total(groups), time.process_time()
                    for turn in range(round(seconds / _TURN_S)):
                        for one in turns[turn % len(turns) :] + turns[: turn % len(turns)]:
                            one.take()
                    others = meter.others(_total(groups) - begin + time.process_time() - own)
                    for one in turns:
                        yield one.shot(system, number, others)


@dataclass
class _Turns:
    """What one form did in its turns."""

    base: str
    authorization: str
    service: str
    form: str
    groups: Mapping[str, Group]
    fast: list[float] = field(default_factory=list)
    paced: list[float] = field(default_factory=list)
    spent: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    errors: int = 0

    def take(self) -> None:
        """A turn at full speed and one at the pace of a camera."""
        before = cpu_seconds(self.groups)
        self._keep(self.fast, 0.0)
        self.spent.update({role: used - before[role] for role, used in cpu_seconds(self.groups).items()})
        self.seconds += _TURN_S
        self._keep(self.paced, PACE)

    def _keep(self, latencies: list[float], pace: float) -> None:
        camera = asyncio.run(drive(self.base, self.authorization, self.service, self.form, _TURN_S, pace))
        latencies += camera.latencies
        self.errors += camera.errors

    def shot(self, system: str, number: int, others: float) -> Shot:
        """All of it together. Raises `ChildFailed` when hardly a frame was answered."""
        if min(len(self.fast), len(self.paced)) < 2:  # a quantile needs two
            raise ChildFailed(f"{system}, {self.service}, {self.form}: {len(self.fast)} frames were answered, {self.errors} were not")
        cpu = {role: 1000 * used / len(self.fast) for role, used in self.spent.items()}
        rate = len(self.fast) / self.seconds
        shot = Shot(
            system, self.service, self.form, number, rate, *_latencies(self.fast), *_latencies(self.paced), cpu, self.errors, others
        )
        print(shot, file=sys.stderr, flush=True)
        return shot


def _total(groups: Mapping[str, Group]) -> float:
    return sum(cpu_seconds(groups).values())


def _latencies(seconds: Sequence[float]) -> tuple[float, float]:
    """p50 and p95 in milliseconds."""
    cuts = quantiles(seconds, n=20)
    return 1000 * median(seconds), 1000 * cuts[18]


def tables(shots: Sequence[Shot]) -> str:
    """A table a service and system; the ratio to POST is taken within each round."""
    texts = []
    for system in SYSTEMS:
        for service in SERVICES:
            rows = [
                "| form | frames/s | ÷ POST | p50 ms | p95 ms | p50 ms at 10/s | p95 ms at 10/s | server CPU ms a frame | errors |",
                "|---|---:|---:|---:|---:|---:|---:|---|---:|",
            ]
            chosen = [shot for shot in shots if (shot.system, shot.service) == (system, service)]
            rows += [_row(form, [shot for shot in chosen if shot.form == form], chosen) for form in FORMS]
            texts.append(f"`{service}`, {system}:\n\n" + "\n".join(rows))
    return "\n\n".join([*texts, noise(shots)])


def _row(form: str, own: Sequence[Shot], chosen: Sequence[Shot]) -> str:
    base = {shot.round: shot.rate for shot in chosen if shot.form == "POST"}
    cpu = {role: median(shot.cpu_ms[role] for shot in own) for role in own[0].cpu_ms}
    roles = "" if len(cpu) < 2 else ": " + ", ".join(f"{role} {value:.2f}" for role, value in cpu.items())
    cells = [
        form,
        spread([shot.rate for shot in own], 1),
        spread([shot.rate / base[shot.round] for shot in own], 2),
        *(spread([getattr(shot, name) for shot in own], 1) for name in ("p50_ms", "p95_ms", "paced_p50_ms", "paced_p95_ms")),
        f"{sum(cpu.values()):.2f}{roles}",
        str(sum(shot.errors for shot in own)),
    ]
    return "| " + " | ".join(cells) + " |"
