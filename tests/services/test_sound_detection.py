from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from shared.errors import UnreadableInput
from tests.services.helpers import Session, answer, given, labelled, loaded, wav
from workers.contract import Input, Service
from workers.lib.audio import decode_wav
from workers.services.sound_detection import SoundDetection

RATES = (4000, 8000, 16000, 44100, 48000, 96000, 192_000)


@cache
def service() -> Service[Any, Any]:
    return loaded(SoundDetection)


def noise(seconds: float, rate: int, level: float, seed: int = 0) -> np.ndarray:
    """White noise of a level in dBFS."""
    return np.random.default_rng(seed).normal(0, 10 ** (level / 20), round(seconds * rate))


def tone(seconds: float, rate: int, level: float) -> np.ndarray:
    return np.sqrt(2) * 10 ** (level / 20) * np.sin(2 * np.pi * 440 / rate * np.arange(round(seconds * rate)))


def scene(rate: int, *sounds: tuple[float, float, float], seconds: float = 6.0, background: float = -66.0) -> np.ndarray:
    """Noise with tones of (start, duration in seconds, level in dBFS)."""
    samples = noise(seconds, rate, background)
    for start, duration, level in sounds:
        piece = tone(duration, rate, level)
        samples[round(start * rate) : round(start * rate) + len(piece)] += piece
    return samples


def sound(samples: np.ndarray, rate: int, sensitivity: float | None = None) -> Input:
    return given(SoundDetection, {"sound": wav(samples, rate)}, **({} if sensitivity is None else {"sensitivity": sensitivity}))


def detect(samples: np.ndarray, rate: int, sensitivity: float | None = None) -> list[tuple[str, float]]:
    """(type, seconds) of each event, the rest of the answer checked."""
    result = answer(service(), sound(samples, rate, sensitivity))
    assert result["input_size"] == len(samples)
    events = result["events"]
    assert result["nb_events"] == len(events)
    assert [event["type"] for event in events] == ["sound_on", "sound_off"] * (len(events) // 2)
    indices = [event["index"] for event in events]
    assert indices == sorted(indices)
    assert all(0 <= index < len(samples) for index in indices)
    return [(event["type"], event["index"] / rate) for event in events]


@pytest.mark.parametrize("rate", RATES)
def test_beginning_and_end_of_a_sound(rate: int) -> None:
    events = detect(scene(rate, (2.0, 1.0, -30)), rate)
    assert [kind for kind, _ in events] == ["sound_on", "sound_off"]
    assert [second for _, second in events] == pytest.approx([2.0, 3.0], abs=0.03)


def test_two_sounds_with_quiet_between() -> None:
    events = detect(scene(16000, (1.0, 0.5, -30), (3.0, 0.5, -20)), 16000)
    assert [second for _, second in events] == pytest.approx([1.0, 1.5, 3.0, 3.5], abs=0.05)


def test_a_short_pause_does_not_end_a_sound() -> None:
    assert len(detect(scene(16000, (1.0, 0.5, -30), (1.7, 0.5, -30)), 16000)) == 2


@pytest.mark.parametrize("rate", RATES)
def test_silence_and_faint_noise_are_no_sounds(rate: int) -> None:
    assert detect(np.zeros(5 * rate), rate) == []
    for sensitivity in (0, 0.5, 1):
        assert detect(noise(10, rate, -66), rate, sensitivity) == []


def test_a_constant_offset_is_no_sound() -> None:
    assert detect(np.full(48000, 0.2) + noise(3, 16000, -70), 16000, 1.0) == []


def test_steady_noise_becomes_the_background() -> None:
    samples = scene(16000, (25.0, 0.5, -20), seconds=28, background=-45)
    on, off, *later = (second for _, second in detect(samples, 16000))
    assert on < 0.1
    assert off < 15
    assert later == pytest.approx([25.0, 25.5], abs=0.05)


def test_a_sound_at_the_end_of_the_buffer_is_ended_there() -> None:
    assert [second for _, second in detect(scene(16000, (4.0, 2.0, -20)), 16000)] == pytest.approx([4.0, 6.0], abs=0.03)
    assert detect(tone(0.005, 16000, -10), 16000)[-1][0] == "sound_off"


def test_no_frames_at_all() -> None:
    assert detect(np.zeros(0), 16000) == []


def test_a_higher_sensitivity_never_gives_fewer_detections() -> None:
    rate = 16000
    for seed in range(12):
        random = np.random.default_rng(seed)
        samples = noise(20, rate, random.uniform(-75, -45), seed)
        for start in random.uniform(0, 18, 12):
            piece = tone(random.uniform(0.05, 1.5), rate, random.uniform(-62, -25))
            samples[round(start * rate) :][: len(piece)] += piece
        counts = [len(detect(samples, rate, sensitivity)) for sensitivity in np.linspace(0, 1, 11)]
        assert counts == sorted(counts), seed
        assert counts[-1] > counts[0] or seed, "nothing depends on the sensitivity"


def test_the_default_sensitivity_is_a_half() -> None:
    quiet = scene(16000, (2.0, 1.0, -47))
    assert detect(quiet, 16000) == detect(quiet, 16000, 0.5)
    assert detect(quiet, 16000, 0.0) == []


@pytest.mark.parametrize("sensitivity", [-0.1, 1.1, "loud", float("nan")])
def test_a_sensitivity_out_of_range(sensitivity: object) -> None:
    with pytest.raises(ValidationError, match="sensitivity"):
        given(SoundDetection, {"sound": wav(np.zeros(100), 8000)}, sensitivity=sensitivity)


def test_stereo_is_refused_saying_what_is_needed() -> None:
    value = given(SoundDetection, {"sound": wav(np.zeros((800, 2)), 8000)})
    with pytest.raises(UnreadableInput, match="mono") as caught:
        answer(service(), value)
    assert caught.value.parameter == "sound"


@pytest.mark.parametrize("chunk", [8192, 1000, 317, 50_000])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_pieces_of_a_session_are_heard_as_one_recording(chunk: int, rate: int) -> None:
    samples = scene(rate, (1.0, 0.5, -30), (3.0, 1.0, -40))
    session = Session(service())
    events, spans = [], []
    for start in range(0, len(samples), chunk):
        for event in session.frame(sound(samples[start : start + chunk], rate))["events"]:
            events.append(event["type"])
            spans.append((start + event["index"]) / rate)
    assert events == ["sound_on", "sound_off"] * 2
    # The end is only known after 0.3 s of quiet, and an index cannot point into an earlier piece.
    assert np.all(np.abs(np.array(spans)[[0, 2]] - [1.0, 3.0]) < 0.03)
    late = np.array(spans)[[1, 3]] - [1.5, 4.0]
    assert np.all((late > -0.05) & (late < 0.35))


def test_a_sound_stays_open_between_the_pieces_of_a_session() -> None:
    session = Session(service())
    kinds = [
        [event["type"] for event in session.frame(sound(piece, 16000))["events"]]
        for piece in np.split(scene(16000, (0.7, 1.6, -20), seconds=3), 3)
    ]
    assert kinds == [["sound_on"], [], ["sound_off"]]


def test_the_background_is_remembered_in_a_session() -> None:
    session = Session(service())
    pieces = [session.frame(sound(noise(1, 16000, -45, seed), 16000))["events"] for seed in range(12)]
    assert [event["type"] for events in pieces for event in events] == ["sound_on", "sound_off"]
    assert session.frame(sound(noise(1, 16000, -45, 99), 16000))["events"] == []


def test_the_example_has_a_sound() -> None:
    assert answer(service(), SoundDetection.example())["nb_events"] == 2


def test_labelled_sounds() -> None:
    """The loudest second of each recording, put at 2.0 s into noise of -66 dBFS, is found within 0.3 s."""
    folder, rows = labelled("sound_detection")
    for row in rows:
        waveform = decode_wav((folder / row["file"]).read_bytes(), max_seconds=60)
        samples, rate = waveform.samples[:, 0], waveform.rate
        energy = np.add.reduceat(samples.astype(float) ** 2, range(0, len(samples) - rate, rate // 10))
        start = int(np.convolve(energy, np.ones(10), "valid").argmax()) * (rate // 10)
        piece = samples[start : start + rate]
        mixed = noise(6, rate, -66)
        mixed[2 * rate : 2 * rate + len(piece)] += piece
        events = detect(mixed, rate)
        assert len(events) >= 2, row["file"]
        assert events[0][1] == pytest.approx(2.0, abs=0.3), row["file"]
