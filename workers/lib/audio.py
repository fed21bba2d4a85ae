"""Recordings from bytes of strangers: WAV with PCM or floating-point samples.

Written here, because what exists does not fit: the standard library's `wave` allocates what a header claims and reads no
floats, `scipy.io.wavfile` answers odd headers with a dozen kinds of exceptions (a division by zero among them), and
libsndfile would put a large C parser of thirty formats before strangers. The format is one loop over chunks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import InputTooLarge, UnreadableInput

Samples = npt.NDArray[np.float32]

MAX_CHUNKS = 1000
MIN_RATE, MAX_RATE = 4_000, 192_000
MAX_CHANNELS = 2

_NEEDED = "a WAV file with PCM samples of 8, 16, 24 or 32 bit or floats is needed"
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # of WAVE_FORMAT_EXTENSIBLE's subformats, after the two bytes of the format
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # what programs leave that write to a pipe


@dataclass(frozen=True, slots=True)
class Waveform:
    """``samples`` float32 [frames, channels] in -1..1, ``rate`` frames a second (Hz)."""

    samples: Samples
    rate: int

    @property
    def frames(self) -> int:
        return int(self.samples.shape[0])

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


@dataclass(frozen=True, slots=True)
class WaveFormat:
    """The ``fmt`` chunk: ``kind`` PCM (1) or float (3), ``rate`` in Hz, ``bits`` of a stored sample."""

    kind: int
    channels: int
    rate: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


def decode_wav(data: bytes, *, max_seconds: float) -> Waveform:
    """The samples of a WAV file. PCM of 8, 16, 24, 32 bit, floats of 32 and 64 bit, also as WAVE_FORMAT_EXTENSIBLE.

    Sizes in the file are never trusted: a data chunk ends with the file at the latest, an incomplete last frame is left
    out. Floats outside -1..1 are limited, those that are no numbers are taken as silence. No frames at all is a valid file.

    Raises `UnreadableInput`, saying what is needed, and `InputTooLarge` for more than ``max_seconds``.
    """
    wave_format, body = _read(data)
    frames = len(body) // wave_format.frame_bytes
    if frames > max_seconds * wave_format.rate:
        raise InputTooLarge(f"the sound lasts {frames / wave_format.rate:.1f} s; at most {max_seconds:g} s are allowed")
    samples = _samples(body[: frames * wave_format.frame_bytes], wave_format)
    return Waveform(samples.reshape(frames, wave_format.channels), wave_format.rate)


def _read(data: bytes) -> tuple[WaveFormat, memoryview]:
    """The format and the bytes of the samples."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise UnreadableInput(f"this is not a WAV file; {_NEEDED}")
    wave_format: WaveFormat | None = None
    for kind, body in _chunks(data):
        if kind == b"fmt ":
            wave_format = _read_format(bytes(body[:40]))
        elif kind == b"data":
            if wave_format is None:
                raise UnreadableInput(f"the WAV file has samples before their format; {_NEEDED}")
            return wave_format, body
    raise UnreadableInput(f"the WAV file has no {'samples' if wave_format else 'format'}; {_NEEDED}")


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(type, content) of each chunk, its content cut at the end of the file."""
    view = memoryview(data)
    (total,) = struct.unpack_from("<I", data, 4)
    position = 12
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        kind, size = struct.unpack_from("<4sI", data, position)
        start = position + 8
        if kind == b"data" and size == 0 and total in _UNKNOWN_SIZES:
            size = len(data) - start
        yield kind, view[start : start + size]
        position = start + size + size % 2
    raise UnreadableInput(f"the WAV file has more than {MAX_CHUNKS} chunks before its samples")


def _read_format(body: bytes) -> WaveFormat:
    if len(body) < 16:
        raise UnreadableInput(f"the format of the WAV file is incomplete; {_NEEDED}")
    kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", body)
    if kind == _EXTENSIBLE:
        if len(body) < 40 or body[26:40] != _GUID_TAIL:
            raise UnreadableInput(f"the WAV file has an extended format that is not known; {_NEEDED}")
        (kind,) = struct.unpack_from("<H", body, 24)
    if kind not in (_PCM, _FLOAT):
        raise UnreadableInput(f"the WAV file has samples of format {kind}; {_NEEDED}")
    if bits not in ((8, 16, 24, 32) if kind == _PCM else (32, 64)):
        raise UnreadableInput(f"the WAV file has samples of {bits} bit; {_NEEDED}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise UnreadableInput(f"the WAV file has {channels} channels; 1 or {MAX_CHANNELS} are needed")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UnreadableInput(f"the WAV file has {rate} frames a second; {MIN_RATE} to {MAX_RATE} are needed")
    if block != channels * bits // 8:
        raise UnreadableInput(f"the WAV file has frames of {block} bytes where {channels * bits // 8} are needed")
    return WaveFormat(kind, channels, rate, bits)


def _samples(body: memoryview, wave_format: WaveFormat) -> Samples:
    """float32 [frames * channels] in -1..1."""
    if wave_format.kind == _FLOAT:
        floats: npt.NDArray[Any] = np.frombuffer(body, f"<f{wave_format.bits // 8}")
        with np.errstate(over="ignore", invalid="ignore"):
            single = floats.astype(np.float32)
        single[~np.isfinite(single)] = 0
        return single.clip(-1, 1, out=single)
    if wave_format.bits == 8:  # the one PCM format without a sign
        return _scaled(np.frombuffer(body, np.uint8).astype(np.int16) - 128, 128.0)
    if wave_format.bits == 24:
        wide = np.zeros((len(body) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        return _scaled(wide.view("<i4").ravel(), 2.0**31)
    return _scaled(np.frombuffer(body, f"<i{wave_format.bits // 8}"), 2.0 ** (wave_format.bits - 1))


def _scaled(integers: npt.NDArray[Any], full: float) -> Samples:
    return integers.astype(np.float32) / np.float32(full)
