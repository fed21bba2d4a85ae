"""Frames from a file, a webcam or an IP camera, read in a thread of their own."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from shared.errors import UnreadableInput

Pixels = npt.NDArray[np.uint8]

#: A camera that sends nothing for so many seconds is lost.
_SILENT_SECONDS = 10.0
#: Pauses before a lost camera is tried again, in seconds; the last is repeated.
_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
_USUAL_FPS = 10.0


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture, uint8 [height, width, 3] BGR, taken ``seconds`` after the beginning."""

    number: int
    seconds: float
    pixels: Pixels


def is_live(source: str) -> bool:
    """Whether it is a camera (a number, or an address that starts with rtsp or http), whose time does not wait for us."""
    return source.isdecimal() or source.partition("://")[0].lower() in ("rtsp", "rtsps", "http", "https")


class Video:
    """A file: every frame, in order, as fast as they are taken or as they were filmed."""

    dropped = 0

    def __init__(self, source: str, fps: float | None = None, *, real_time: bool = False) -> None:
        """``fps``: at most so many frames a second of the video; all by default. ``real_time``: each at its own time after the first.
        Raises `UnreadableInput`."""
        self._begin: float | None = None
        self._real_time = real_time
        self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            raise UnreadableInput(f"{source} cannot be read as a video")
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or _USUAL_FPS
        self._step = max(1, round(self.fps / fps)) if fps else 1
        self.fps /= self._step
        counted = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total = -(-counted // self._step) if counted > 0 else None

    def frames(self) -> Iterator[Frame]:
        number = 0
        while self._capture.grab():
            if number % self._step == 0:
                taken, pixels = self._capture.retrieve()
                if not taken:
                    return
                kept = number // self._step
                self._wait(kept / self.fps)
                yield Frame(kept, kept / self.fps, np.asarray(pixels, np.uint8))
            number += 1

    def close(self) -> None:
        self._capture.release()

    def _wait(self, seconds: float) -> None:
        if not self._real_time:
            return
        if self._begin is None:
            self._begin = time.monotonic()
        time.sleep(max(0.0, self._begin + seconds - time.monotonic()))


class Camera:
    """A live source: the newest frame wins, the others are counted as ``dropped``. A camera that is lost is tried again for ever."""

    total = None

    def __init__(self, source: str, fps: float | None = None, tell: Callable[[str], None] = lambda _: None) -> None:
        """``fps``: at most so many frames a second. ``tell``: hears in words when the camera is lost and when it is back. Raises
        `UnreadableInput` when it cannot be opened at first."""
        self._name, self._tell = _without_password(source), tell
        self._source: Any = int(source) if source.isdecimal() else source
        self._capture = _open(self._source)
        if not self._capture.isOpened():
            raise UnreadableInput(f"the camera {self._name} cannot be opened")
        self.fps = fps or _USUAL_FPS
        self.dropped = 0
        self._newest: queue.Queue[Frame] = queue.Queue(1)
        self._stopped = threading.Event()
        self._reader = threading.Thread(target=self._read, name="camera", daemon=True)
        self._reader.start()

    def frames(self) -> Iterator[Frame]:
        while not self._stopped.is_set():
            try:
                yield self._newest.get(timeout=0.5)
            except queue.Empty:
                continue

    def close(self) -> None:
        self._stopped.set()
        self._reader.join(_SILENT_SECONDS + 1)
        self._capture.release()

    def _read(self) -> None:
        begin, last, number = time.monotonic(), float("-inf"), 0
        while not self._stopped.is_set():
            taken, pixels = self._capture.read()
            if not taken:
                self._connect_again()
                continue
            now = time.monotonic() - begin
            if now - last < 0.9 / self.fps:
                continue
            self._offer(Frame(number, now, np.asarray(pixels, np.uint8)))
            last, number = now, number + 1

    def _offer(self, frame: Frame) -> None:
        try:
            self._newest.get_nowait()
            self.dropped += 1
        except queue.Empty:
            pass
        self._newest.put_nowait(frame)  # only this thread puts

    def _connect_again(self) -> None:
        self._tell(f"the camera {self._name} was lost; trying again")
        for pause in chain(_PAUSES, repeat(_PAUSES[-1])):
            self._capture.release()
            if self._stopped.wait(pause):
                return
            self._capture = _open(self._source)
            if self._capture.isOpened():
                self._tell(f"the camera {self._name} is back")
                return


def _open(source: Any) -> cv2.VideoCapture:
    """A webcam by its number, or a camera by its address, which is lost when it says nothing for a while."""
    if isinstance(source, int):
        return cv2.VideoCapture(source)
    limit = round(1000 * _SILENT_SECONDS)
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit])


def _without_password(source: str) -> str:
    """An address that may be shown."""
    return re.sub(r"//[^/@]*@", "//", source)
