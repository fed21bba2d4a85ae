"""What the examples share: arguments, pictures from a camera or a file, sounds from a microphone or a file, boxes, arrows and a window."""

from __future__ import annotations

import argparse
import io
import math
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import angus.client

GREEN, DARK_GREEN, ORANGE, WHITE, BLACK = (0, 255, 0), (0, 140, 0), (0, 140, 255), (255, 255, 255), (0, 0, 0)
CHUNK_FRAMES = 8192
_PICTURES = (".jpg", ".jpeg", ".png")


def arguments(description: str | None, *, sound: bool = False) -> argparse.ArgumentParser:
    """The options of every example. ``description``: the example's docstring."""
    parser = argparse.ArgumentParser(description=description)
    if sound:
        parser.add_argument("--input", default="0", help="number of a microphone, or a WAV file; 0 unless given")
        return parser
    parser.add_argument("--input", default="0", help="number of a camera, its address, a video or a picture; 0 unless given")
    parser.add_argument("--output", type=Path, help="write what is shown, as a video (.mp4) or a picture")
    parser.add_argument("--no-window", action="store_true", help="show nothing")
    return parser


def connect(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, angus.client.Root]:
    """The example's options, and a connection to the server that the remaining ones or the configuration name."""
    parser.epilog = "The server and the credentials are those of angusme; -r URL -id CLIENT_ID -a ACCESS_TOKEN go before them."
    given, rest = parser.parse_known_args()
    return given, angus.client.connect(conf=angus.client.get_default_configuration(rest))


# Pictures


def is_picture(source: str) -> bool:
    """Whether it is a single picture, which has no session."""
    return source.lower().endswith(_PICTURES)


def pictures(source: str) -> Iterator[np.ndarray]:
    """Frames in BGR, at about ten a second from a camera, all of a file."""
    if is_picture(source):
        picture = cv2.imread(source)
        if picture is None:
            sys.exit(f"{source} is not a picture")
        yield picture
        return
    camera = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not camera.isOpened():
        sys.exit(f"{source} can be opened neither as a camera nor as a video")
    if source.isdecimal():
        for name, value in ((cv2.CAP_PROP_FRAME_WIDTH, 640), (cv2.CAP_PROP_FRAME_HEIGHT, 480), (cv2.CAP_PROP_FPS, 10)):
            camera.set(name, value)
    try:
        while True:
            taken, picture = camera.read()
            if not taken:
                return
            yield picture
    finally:
        camera.release()


class Screen:
    """A window, a file, or both. `show` is false once somebody pressed q or Escape."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._output: Path | None = given.output
        self._window = not given.no_window
        self._video: cv2.VideoWriter | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        if self._video is not None:
            self._video.release()
        if self._window:
            cv2.destroyAllWindows()

    def show(self, picture: np.ndarray) -> bool:
        """Show one picture."""
        if self._output is not None:
            self._write(self._output, picture)
        if not self._window:
            return True
        try:
            cv2.imshow("Sensorium", picture)
        except cv2.error:
            sys.exit("this OpenCV has no windows: pip install opencv-python, or use --no-window and --output")
        return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)

    def _write(self, path: Path, picture: np.ndarray) -> None:
        if path.suffix.lower() in _PICTURES:
            cv2.imwrite(str(path), picture)
            return
        if self._video is None:
            size = (picture.shape[1], picture.shape[0])
            self._video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, size)
        self._video.write(picture)


def box(picture: np.ndarray, roi: Any, text: str = "", colour: tuple[int, int, int] = GREEN) -> None:
    """A rectangle [x, y, width, height] with a line of text above it."""
    x, y, width, height = map(int, roi)
    cv2.rectangle(picture, (x, y), (x + width, y + height), colour, 2)
    label(picture, (x, max(y - 6, 12)), text)


def label(picture: np.ndarray, place: tuple[int, int], text: str) -> None:
    """White text with a black edge, readable on anything."""
    for colour, thickness in ((BLACK, 3), (WHITE, 1)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thickness, cv2.LINE_AA)


def arrow(picture: np.ndarray, begin: Any, angles: tuple[float, float, float], colour: tuple[int, int, int], length: int = 150) -> None:
    """Where something looks that is turned by (yaw, pitch, roll) radians: yaw > 0 to the right of the picture, pitch > 0 upwards."""
    theta, phi, psi = -angles[0], angles[1], angles[2]
    across = math.sin(phi) * math.sin(psi) - math.cos(phi) * math.sin(theta) * math.cos(psi)
    down = -(math.sin(phi) * math.cos(psi) - math.cos(phi) * math.sin(theta) * math.sin(psi))
    x, y = map(int, begin)
    cv2.line(picture, (x, y), (x + int(length * across), y + int(length * down)), colour, 3)


# Sounds


def sounds(source: str, *, rate: int, channels: int = 1) -> Iterator[bytes]:
    """WAV files of half a second or less, one after the other, PCM 16 bit. A file keeps its own rate and channels."""
    if not source.isdecimal():
        with wave.open(source) as file:
            while data := file.readframes(CHUNK_FRAMES):
                yield wav(data, file.getframerate(), file.getnchannels())
        return
    try:
        import sounddevice
    except ImportError:
        sys.exit("to listen to a microphone: pip install sounddevice   (or give a WAV file with --input)")
    with sounddevice.RawInputStream(
        device=int(source), samplerate=rate, channels=channels, dtype="int16", blocksize=CHUNK_FRAMES
    ) as stream:
        while True:
            data, _ = stream.read(CHUNK_FRAMES)
            yield wav(bytes(data), rate, channels)


def wav(data: bytes, rate: int, channels: int) -> bytes:
    """PCM 16 bit as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(data)
    return file.getvalue()


def follow(service: Any, source: str) -> Any:
    """The service with a session, unless the source is a single picture."""
    if not is_picture(source):
        service.enable_session()
    return service
