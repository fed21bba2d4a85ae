from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputTooLarge, UnreadableInput
from workers.lib.audio import Waveform, decode_wav

WAVE = np.array([0.0, 0.5, -0.5, 0.25, -1.0, 0.75])
GUID = "000000001000800000aa00389b71"


def chunk(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def form(kind: int = 1, channels: int = 1, rate: int = 16000, bits: int = 16, block: int | None = None, extra: bytes = b"") -> bytes:
    block = channels * bits // 8 if block is None else block
    return chunk(b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, (rate * block) & 0xFFFFFFFF, block, bits) + extra)


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def pcm16(values: np.ndarray = WAVE) -> bytes:
    return np.clip(values * 32768, -32768, 32767).astype("<i2").tobytes()


def decode(data: bytes, max_seconds: float = 60) -> Waveform:
    return decode_wav(data, max_seconds=max_seconds)


def extensible(kind: int, bits: int, guid: str = GUID) -> bytes:
    return form(0xFFFE, bits=bits, extra=struct.pack("<HHIH", 22, bits, 4, kind) + bytes.fromhex(guid))


ENCODINGS = {
    "8": (form(bits=8), np.clip(WAVE * 128 + 128, 0, 255).astype(np.uint8).tobytes()),
    "16": (form(), pcm16()),
    "24": (form(bits=24), b"".join(int(value * 2**23).to_bytes(3, "little", signed=True) for value in WAVE)),
    "32": (form(bits=32), (WAVE * 2**31).astype("<i4").tobytes()),
    "float32": (form(3, bits=32), WAVE.astype("<f4").tobytes()),
    "float64": (form(3, bits=64), WAVE.astype("<f8").tobytes()),
    "extensible 16": (extensible(1, 16), pcm16()),
    "extensible float": (extensible(3, 32), WAVE.astype("<f4").tobytes()),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_gives_the_same_samples(name: str) -> None:
    header, body = ENCODINGS[name]
    waveform = decode(riff(header, chunk(b"data", body)))
    assert waveform.samples.dtype == np.float32
    assert waveform.samples.shape == (6, 1)
    assert waveform.rate == 16000
    assert np.allclose(waveform.samples[:, 0], WAVE, atol=1e-6)


def test_channels_are_columns() -> None:
    waveform = decode(riff(form(channels=2), chunk(b"data", pcm16())))
    assert waveform.channels == 2
    assert np.allclose(waveform.samples, WAVE.reshape(3, 2))


def test_other_chunks_are_stepped_over() -> None:
    data = riff(chunk(b"LIST", b"odd"), form(), chunk(b"cue ", b"\0" * 28), chunk(b"data", pcm16()), chunk(b"LIST", b"after"))
    assert decode(data).frames == 6


def test_zero_frames_are_a_valid_file() -> None:
    waveform = decode(riff(form(), chunk(b"data", b"")))
    assert waveform.samples.shape == (0, 1)
    assert waveform.seconds == 0


@pytest.mark.parametrize("claimed", [0xFFFFFFFF, 0x7FFFFFFF, 1000])
def test_a_header_that_promises_more_than_there_is(claimed: int) -> None:
    tracemalloc.start()
    waveform = decode(riff(form(), chunk(b"data", pcm16(), claimed), size=0xFFFFFFFF))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert waveform.frames == 6
    assert peak < 100_000


def test_a_header_that_promises_less_than_there_is() -> None:
    assert decode(riff(form(), chunk(b"data", pcm16(), 4))).frames == 2


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_sizes_left_open_by_a_pipe(size: int) -> None:
    assert decode(riff(form(), chunk(b"data", pcm16(), size), size=size)).frames == 6


def test_an_incomplete_last_frame_is_left_out() -> None:
    assert decode(riff(form(channels=2), chunk(b"data", pcm16()[:-3]))).frames == 2


def test_floats_that_are_none() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 5.0, -5.0, 0.5], "<f4")
    assert decode(riff(form(3, bits=32), chunk(b"data", values.tobytes()))).samples[:, 0].tolist() == [0, 0, 0, 1, -1, 0.5]
    huge = np.array([1e300, -1e300], "<f8")
    assert np.isfinite(decode(riff(form(3, bits=64), chunk(b"data", huge.tobytes()))).samples).all()


BAD = {
    "nothing": (b"", "WAV"),
    "text": (b"this is no sound at all, just a text", "WAV"),
    "a picture": (b"\xff\xd8\xff\xe0" + b"\0" * 100, "WAV"),
    "big endian": (b"RIFX" + riff(form(), chunk(b"data", pcm16()))[4:], "WAV"),
    "another form": (b"RIFF\x10\0\0\0AVI LIST" + b"\0" * 20, "WAV"),
    "no format": (riff(chunk(b"LIST", b"abcd")), "format"),
    "no data": (riff(form()), "samples"),
    "data first": (riff(chunk(b"data", pcm16()), form()), "before their format"),
    "short format": (riff(chunk(b"fmt ", b"\1\0\1\0"), chunk(b"data", pcm16())), "incomplete"),
    "cut in the format": (riff(form())[:30], "incomplete"),
    "no channels": (riff(form(channels=0), chunk(b"data", pcm16())), "0 channels; 1 or 2"),
    "65535 channels": (riff(form(channels=65535, block=65534), chunk(b"data", pcm16())), "65535 channels; 1 or 2"),
    "0 Hz": (riff(form(rate=0), chunk(b"data", pcm16())), "4000 to 192000"),
    "3999 Hz": (riff(form(rate=3999), chunk(b"data", pcm16())), "4000 to 192000"),
    "100 MHz": (riff(form(rate=100_000_000), chunk(b"data", pcm16())), "4000 to 192000"),
    "A-law": (riff(form(6, bits=8), chunk(b"data", pcm16())), "format 6"),
    "ADPCM": (riff(form(2, bits=4, block=256), chunk(b"data", pcm16())), "format 2"),
    "12 bit": (riff(form(bits=12, block=2), chunk(b"data", pcm16())), "12 bit"),
    "0 bit": (riff(form(bits=0, block=2), chunk(b"data", pcm16())), "0 bit"),
    "float of 16 bit": (riff(form(3, bits=16), chunk(b"data", pcm16())), "16 bit"),
    "odd frames": (riff(form(block=3), chunk(b"data", pcm16())), "frames of 3 bytes where 2"),
    "frames of nothing": (riff(form(block=0), chunk(b"data", pcm16())), "frames of 0 bytes"),
    "extensible, cut": (riff(form(0xFFFE), chunk(b"data", pcm16())), "extended"),
    "extensible, unknown": (riff(extensible(1, 16, "00" * 14), chunk(b"data", pcm16())), "extended"),
    "extensible, A-law": (riff(extensible(6, 8), chunk(b"data", pcm16())), "format 6"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_said(name: str) -> None:
    data, said = BAD[name]
    with pytest.raises(UnreadableInput, match=said) as caught:
        decode(data)
    assert "need" in caught.value.message


def test_endless_chunks() -> None:
    with pytest.raises(UnreadableInput, match="1000 chunks"):
        decode(riff(form(), *[chunk(b"junk", b"")] * 5000, chunk(b"data", pcm16())))


def test_too_long() -> None:
    second = riff(form(rate=8000), chunk(b"data", b"\0\0" * 8001))
    with pytest.raises(InputTooLarge, match="at most 1 s"):
        decode(second, max_seconds=1)
    assert decode(second[:-2], max_seconds=1).seconds == 1


@given(st.binary(max_size=200), st.integers(0, 90))
def test_random_damage_is_unreadable_at_worst(noise: bytes, place: int) -> None:
    good = riff(form(), chunk(b"LIST", b"abcdefgh"), chunk(b"data", pcm16()))
    for data in (noise, good[:place], good[:place] + noise + good[place:], good[:place] + noise[:8] + good[place + 8 :]):
        try:
            assert decode(data).channels in (1, 2)
        except (UnreadableInput, InputTooLarge):
            pass
