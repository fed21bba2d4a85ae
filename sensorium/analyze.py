"""``sensorium analyze``: a video or a camera, sent frame by frame to the scene analysis of a running Sensorium."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import uuid
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import aiohttp
import cv2
from tqdm import tqdm

from accounts.model import StreamSecret
from sensorium.cameras import Camera, Frame, Pixels, Video, is_live
from sensorium.drawing import draw
from sensorium.streams import credentials
from shared.errors import InvalidParameter, Unavailable, UnreadableInput

#: Frames on their way at a time. A camera's are few, so that the newest wins.
_AT_A_TIME, _AT_A_TIME_LIVE = 8, 2
_JOB = "/services/scene_analysis/1/jobs"
_RECENT = 4
_SECONDS = 120.0
#: Between two frames while nothing answers, in seconds.
_PAUSE = 1.0


@dataclass
class Summary:
    """What there is to say at the end."""

    frames: int = 0
    people: set[str] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=_RECENT))
    lost: int = 0
    trouble: str = ""

    def lose(self, trouble: str) -> None:
        """A frame came to nothing; why is told once."""
        self.lost += 1
        if not self.trouble:
            _tell(f"{trouble}; trying again")
        self.trouble = trouble

    def add(self, answer: dict[str, Any]) -> None:
        if self.trouble:
            _tell("answers come again")
        self.frames, self.trouble = self.frames + 1, ""
        for event in answer.get("events", []):
            self.events[event["type"]] += 1
            self.people.add(event["entity_id"])
            value = answer["entities"][event["entity_id"]].get(event["key"])
            told = "" if event["key"].endswith("roi") else f" {value}"
            self.recent.append(f"{event['entity_id'][:4]} {event['type']}{told}")

    def text(self, dropped: int) -> str:
        events = ", ".join(f"{name} {count}" for name, count in sorted(self.events.items())) or "none"
        missed = dropped + self.lost
        lost = f", {missed} dropped" if missed else ""
        return f"{self.frames} frames{lost}; {len(self.people)} people; events: {events}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser what `run` understands."""
    parser.add_argument("source", help="a video file, the number of a webcam, or the address of a camera (rtsp://… or http://…)")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where Sensorium runs")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument(
        "--stream",
        help="a stream's name or client_id in this installation's database, or a JSON file with its credentials; the demo's by default",
    )
    whose.add_argument("--user", metavar="CLIENT_ID:ACCESS_TOKEN", help="the stream's credentials themselves")
    parser.add_argument("--store", action="store_true", help="keep the visits for the dashboard and the data API")
    parser.add_argument("--camera-position", choices=("facing", "ceiling"), default="facing")
    parser.add_argument("--sensitivity", action="append", default=[], metavar="EVENT=VALUE", help="0 to 1, may be repeated")
    parser.add_argument("--session", help="name of the session; a new one by default")
    parser.add_argument("--start", type=datetime.fromisoformat, help="when the video begins, ISO 8601; now by default")
    parser.add_argument("--fps", type=float, help="at most so many frames a second; a camera's are 10 by default")
    parser.add_argument("--real-time", action="store_true", help="send a file's frames at their own times instead of as fast as it goes")
    parser.add_argument("--width", type=int, default=640, help="wider frames are made so wide, in pixels")
    parser.add_argument("--quality", type=int, default=85, help="of the JPEGs, 1 to 100")
    parser.add_argument("--output", type=Path, help="write the video with what was found, as MP4")
    parser.add_argument("--jsonl", type=Path, help="write one line of JSON a frame")
    parser.add_argument("--max-frames", type=int, help="end after so many")
    parser.add_argument("--no-progress", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say; the exit status. Raises `PerceptionError`s that say what to do."""
    summary = Summary()
    user = credentials(args.user, args.stream)
    source = Camera(args.source, args.fps, tell=_tell) if is_live(args.source) else Video(args.source, args.fps, real_time=args.real_time)
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(_analyze(args, user, source, summary))
    finally:
        source.close()
        print(summary.text(source.dropped))
    return 0


def _tell(text: str) -> None:
    """Beside the progress bar."""
    tqdm.write(f"sensorium: {text}", file=sys.stderr)


async def _analyze(args: argparse.Namespace, user: StreamSecret, source: Video | Camera, summary: Summary) -> None:
    headers = {"Authorization": aiohttp.encode_basic_auth(user.client_id, user.access_token)}
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    ask = _question(args)
    most = _AT_A_TIME_LIVE if isinstance(source, Camera) else _AT_A_TIME
    with ExitStack() as stack:
        write = stack.enter_context(_Results(args, source.fps)).write
        bar = stack.enter_context(tqdm(total=args.max_frames or source.total, unit="frame", disable=args.no_progress, file=sys.stderr))
        async with aiohttp.ClientSession(args.url.rstrip("/"), headers=headers, timeout=timeout) as session:
            waiting: deque[tuple[Pixels, asyncio.Task[dict[str, Any]]]] = deque()
            frames = source.frames()
            try:
                while (frame := await asyncio.to_thread(next, frames, None)) is not None and _is_wanted(frame, args.max_frames):
                    pixels = _narrowed(frame.pixels, args.width)
                    previous = waiting[-1][1] if waiting else None
                    waiting.append((pixels, asyncio.create_task(_send(session, ask(frame, pixels), previous))))
                    while len(waiting) >= most:
                        await _take(waiting, write, summary, bar, patient=source.total is None)
                while waiting:
                    await _take(waiting, write, summary, bar, patient=False)
            finally:
                for _, task in waiting:
                    task.cancel()


def _is_wanted(frame: Frame, most: int | None) -> bool:
    """Whether the frame is among the first so many. A camera's numbers have gaps, where frames were dropped."""
    return most is None or frame.number < most


async def _take(
    waiting: deque[Any], write: Callable[[Pixels, dict[str, Any], Summary], None], summary: Summary, bar: Any, *, patient: bool
) -> None:
    """The oldest frame's answer: results are in the order of the frames. ``patient``: once it has worked, a Sensorium that is away for a
    while costs frames only, since a camera goes on for months."""
    pixels, task = waiting.popleft()
    try:
        answer = await task
    except Unavailable as error:
        if not patient or not summary.frames:
            raise
        summary.lose(error.message)
        await asyncio.sleep(_PAUSE)
        return
    summary.add(answer)
    await asyncio.to_thread(write, pixels, answer, summary)
    bar.update(1)


def _question(args: argparse.Namespace) -> Callable[[Frame, Pixels], tuple[dict[str, Any], bytes]]:
    start = args.start or datetime.now(UTC)
    start = start if start.tzinfo else start.replace(tzinfo=UTC)
    given: dict[str, Any] = {
        "async": False,
        "image": "attachment://frame",
        "camera_position": args.camera_position,
        "sensitivity": _sensitivities(args.sensitivity),
        "store": args.store,
        "state": {"session_id": args.session or uuid.uuid4().hex},
    }

    def ask(frame: Frame, pixels: Pixels) -> tuple[dict[str, Any], bytes]:
        stamp = (start + timedelta(seconds=frame.seconds)).isoformat()
        return {**given, "timestamp": stamp}, cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, args.quality])[1].tobytes()

    return ask


def _sensitivities(given: list[str]) -> dict[str, float]:
    chosen = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            chosen[name] = float(value)
        except ValueError:
            raise InvalidParameter(f"--sensitivity {text}: must be as in appearance=0.7") from None
    return chosen


async def _send(
    session: aiohttp.ClientSession, question: tuple[dict[str, Any], bytes], previous: asyncio.Task[dict[str, Any]] | None
) -> dict[str, Any]:
    """The answer to one frame, asked for once the frame before has its own: the server numbers frames as they arrive, and two requests
    on their way may overtake each other. Reading, encoding and drawing go on meanwhile."""
    meta, picture = question
    if previous is not None:
        await asyncio.wait([previous])
    form = aiohttp.FormData()
    form.add_field("meta", json.dumps(meta), content_type="application/json")
    form.add_field("attachment://frame", picture, filename="frame.jpg", content_type="image/jpeg")
    try:
        async with asyncio.timeout(_SECONDS):
            status, answer = await _answer(session, form)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # ValueError: a proxy's page
        raise Unavailable(f"nothing answers at {session._base_url}: start it with `make run` or `sensorium up` ({error})") from None
    if status == 401:
        raise InvalidParameter(
            "the stream's credentials are wrong; name a stream with --stream, or give them as --user CLIENT_ID:ACCESS_TOKEN"
        )
    if status not in (200, 201):
        passing = status == 429 or status >= 500
        raise (Unavailable if passing else InvalidParameter)(str(answer.get("error", answer)))
    return answer


async def _answer(session: aiohttp.ClientSession, form: aiohttp.FormData) -> tuple[int, dict[str, Any]]:
    """(HTTP status, document) of the job that ``form`` makes. A server that is too busy to hold the request until then is asked again."""
    async with session.post(_JOB, data=form) as response:
        answer: dict[str, Any] = await response.json(content_type=None)
    status, job = response.status, answer
    while status == 202:
        async with session.get(f"{_JOB}/{str(job['url']).rpartition('/')[2]}", headers={"Prefer": f"wait={_SECONDS:g}"}) as response:
            status, answer = response.status, await response.json(content_type=None)
    if status == 200:  # it has ended, well or not: the document says how
        status = int(answer.get("status", status))
    return status, answer


def _narrowed(pixels: Pixels, width: int) -> Pixels:
    if pixels.shape[1] <= width:
        return pixels
    height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


class _Results:
    """The files that are asked for, complete also when the end comes early."""

    def __init__(self, args: argparse.Namespace, fps: float) -> None:
        self._output, self._fps = args.output, fps
        self._lines: TextIO | None = args.jsonl.open("w", buffering=1, encoding="utf-8") if args.jsonl else None
        self._video: cv2.VideoWriter | None = None

    def __enter__(self) -> _Results:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines is not None:
            self._lines.close()
        if self._video is not None:
            self._video.release()

    def write(self, pixels: Pixels, answer: dict[str, Any], summary: Summary) -> None:
        if self._lines is not None:
            self._lines.write(json.dumps(answer) + "\n")
        if self._output is None:
            return
        if self._video is None:
            size = (pixels.shape[1], pixels.shape[0])
            self._video = cv2.VideoWriter(str(self._output), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, size)
            if not self._video.isOpened():
                raise UnreadableInput(f"{self._output} cannot be written as a video")
        self._video.write(draw(pixels, answer, list(summary.recent)))
