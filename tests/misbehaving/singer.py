"""A service that answers with tones in pieces, and misbehaves between them, for the tests of streamed answers."""

from __future__ import annotations

import base64
import io
import os
import wave
import zlib

import numpy as np
from pydantic import Field

from shared.errors import PerceptionError, UnreadableInput
from workers.contract import Item, Output
from workers.streaming import Emit, StreamedInput, StreamingService

RATE = 8000
SAMPLES = 800  # of one piece


class SingerInput(StreamedInput):
    """``stop_at``: the piece before which `deed` is done, unless the file ``once`` exists already (it is made then).

    ``wait_for``: a file that has to exist before the second piece is made.
    """

    pieces: int = Field(3, ge=0, le=100)
    stop_at: int = -1
    deed: str = "nothing"
    once: str | None = None
    wait_for: str | None = None


class SingerOutput(Output):
    sound: str


class Singer(StreamingService[SingerInput, SingerOutput]):
    """Sings tones, each in a piece of its own."""

    name = "singer"
    input_type = SingerInput
    output_type = SingerOutput

    def process_streamed(self, item: Item[SingerInput], emit: Emit) -> SingerOutput | PerceptionError:
        wanted = item.input
        for number in range(wanted.pieces):
            if number == wanted.stop_at and _is_first(wanted.once):
                if wanted.deed == "die":
                    os._exit(9)
                if wanted.deed == "raise":
                    raise RuntimeError("as told")
                if wanted.deed == "error":
                    return UnreadableInput("as told")
            if number == 1 and wanted.wait_for is not None:
                with open(wanted.wait_for) as gate:  # a named pipe: opening it waits for its other end
                    gate.read()
            emit({"sound": packed(tone(number)), "rate": RATE, "voice": "singer"})
        return SingerOutput(sound=packed(*(tone(number) for number in range(wanted.pieces))))

    @classmethod
    def example(cls) -> SingerInput:
        return SingerInput()


def tone(number: int) -> bytes:
    """PCM, 16 bit, mono: a tone that says its number."""
    return (3000 * np.sin(np.arange(SAMPLES) * (number + 1) / 10)).astype("<i2").tobytes()


def packed(*tones: bytes) -> str:
    """A WAV file, compressed with zlib, in base64."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(b"".join(tones))
    return base64.b64encode(zlib.compress(file.getvalue())).decode()


def _is_first(once: str | None) -> bool:
    if once is None:
        return True
    try:
        os.close(os.open(once, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
