"""A microphone that is a file: the part of PyAudio that the samples use, over the WAV file PROGRAM_SOUND.

A chunk is recorded whenever the program sleeps because it has none; when the file is at its end, somebody presses Ctrl-C.
"""

from __future__ import annotations

import os
import time
import wave
from collections.abc import Callable
from typing import Any

paInt16, paContinue = 8, 0  # noqa: N816


class PyAudio:
    def __init__(self) -> None:
        with wave.open(os.environ["PROGRAM_SOUND"]) as file:
            self.channels, self.rate = file.getnchannels(), file.getframerate()
            self.recorded = file.readframes(file.getnframes())

    def get_device_count(self) -> int:
        return 1

    def get_device_info_by_index(self, index: int) -> dict[str, Any]:
        return {"index": index, "name": "file", "maxInputChannels": self.channels, "defaultSampleRate": float(self.rate)}

    def get_sample_size(self, form: int) -> int:
        return 2

    def open(self, *, frames_per_buffer: int, stream_callback: Callable[..., Any], **_: Any) -> Stream:
        return Stream(self.recorded, frames_per_buffer * self.channels * 2, frames_per_buffer, stream_callback)


class Stream:
    def __init__(self, recorded: bytes, size: int, frames: int, callback: Callable[..., Any]) -> None:
        self._chunks = [recorded[begin : begin + size] for begin in range(0, len(recorded) - size + 1, size)]
        self._frames, self._callback = frames, callback

    def start_stream(self) -> None:
        time.sleep = self._record

    def _record(self, seconds: float) -> None:
        if not self._chunks:
            raise KeyboardInterrupt
        self._callback(self._chunks.pop(0), self._frames, {}, 0)
