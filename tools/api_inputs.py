"""What the pages of examples and the tests of programs look at and listen to: a photograph, a code, something that moves, a voice, a sound from the right."""

from __future__ import annotations

import io
import wave
from functools import cache

import cv2
import numpy as np
import qrcode
from skimage.data import astronaut

#: What the code in the pictures says.
CODE = "http://www.angus.ai"
#: Distance of the two microphones in metres, and the angle in radians of what they hear.
BASELINE, YAW = 0.14, 0.5
_SPEED_OF_SOUND = 343.0


@cache
def photo() -> np.ndarray:
    """uint8 [512, 512, 3] BGR: NASA's portrait of Eileen Collins, in the public domain."""
    pixels = np.ascontiguousarray(astronaut()[:, :, ::-1])
    pixels.setflags(write=False)
    return pixels


@cache
def code() -> np.ndarray:
    """uint8 [512, 512, 3] BGR: a QR code."""
    return np.array(qrcode.make(CODE, box_size=12).get_image().convert("RGB").resize((512, 512)))


def moving(frame: int) -> np.ndarray:
    """uint8 [512, 512, 3] BGR: the photograph with a card that goes 10 pixels to the right with each frame."""
    picture, left = np.array(photo()), 40 + 10 * frame
    picture[300:460, left : left + 160] = code()[100:260, 100:260]
    return picture


def jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    """The picture as a file."""
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def between_silences(speech: bytes) -> bytes:
    """A mono WAV file with a second of silence before and after it."""
    with wave.open(io.BytesIO(speech)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    silence = np.zeros(rate, np.int16)
    return wav(np.concatenate([silence, samples, silence]), rate)


def from_the_right() -> bytes:
    """A stereo WAV file at 48 kHz: half a second of noise from `YAW`, with a quarter of silence before and after it."""
    noise = np.random.default_rng(5).normal(0, 3000, 48_000)
    noise[:12_000] = noise[36_000:] = 0
    delay = round(BASELINE * np.sin(YAW) / _SPEED_OF_SOUND * 48_000)
    return wav(np.stack([np.roll(noise, delay), noise], axis=1).astype(np.int16), 48_000)


def wav(samples: np.ndarray, rate: int) -> bytes:
    """PCM from int16 [frames] or [frames, channels]."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()
