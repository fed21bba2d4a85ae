from __future__ import annotations

import numpy as np
import pytest

from workers.lib.localize import SOUND_SPEED, Source, locate, yaw_of

RATE = 48000
BASELINE = 0.2


def noise(frames: int, level: float, seed: int = 0) -> np.ndarray:
    """White noise of a level in dBFS."""
    return np.random.default_rng(seed).normal(0, 10 ** (level / 20), frames)


def from_direction(sound: np.ndarray, degrees: float, baseline: float = BASELINE, rate: int = RATE) -> np.ndarray:
    """[n, 2]: delayed by the difference of the ways, exactly, in the frequency domain."""
    frames = baseline * np.sin(np.radians(degrees)) / SOUND_SPEED * rate
    spectrum, frequencies = np.fft.rfft(sound, 2 * len(sound)), np.fft.rfftfreq(2 * len(sound))
    channels = [np.fft.irfft(spectrum * np.exp(-2j * np.pi * frequencies * late))[: len(sound)] for late in (frames / 2, -frames / 2)]
    return np.stack(channels, axis=1)


def found(samples: np.ndarray, baseline: float = BASELINE, rate: int = RATE, least: float = 0.15, gate: float = -50) -> list[Source]:
    return locate(samples.astype(np.float32), rate, baseline, gate, least)


def degrees(sources: list[Source], baseline: float = BASELINE) -> list[float]:
    return [float(np.degrees(yaw_of(source.delay, baseline))) for source in sources]


@pytest.mark.parametrize("rate", [16000, 44100, 48000, 96000])
@pytest.mark.parametrize("baseline", [0.05, 0.2, 0.7, 2.0])
@pytest.mark.parametrize("direction", [-75, -30, 0, 1, 45])
def test_a_source_is_found_where_it_is(rate: int, baseline: float, direction: float) -> None:
    samples = from_direction(noise(rate // 2, -30), direction, baseline, rate)
    sources = found(samples + noise(rate, -50, 1).reshape(-1, 2), baseline, rate)
    assert degrees(sources, baseline) == [pytest.approx(direction, abs=1.5)]
    assert sources[0].agreement > 0.8


def test_the_delay_is_finer_than_a_frame() -> None:
    """By value: 0.1 and 0.2 frames apart, against the delay that was put in."""
    for late in (3.0, 3.1, 3.3, -7.45):
        angle = np.degrees(np.arcsin(late / RATE * SOUND_SPEED / BASELINE))
        (source,) = found(from_direction(noise(24000, -20), angle))
        assert source.delay * RATE == pytest.approx(late, abs=0.03)


def test_the_shortest_array() -> None:
    (angle,) = degrees(found(from_direction(noise(24000, -20), 30, 0.01), 0.01), 0.01)
    assert angle == pytest.approx(30, abs=3)


def test_against_a_plain_correlation() -> None:
    """An independent way to the same delay: the highest of the sums of products at whole lags."""
    samples = from_direction(noise(24000, -20, 5), 38)
    lags = range(-30, 31)
    sums = [float(np.dot(samples[30:-30, 0], samples[30 - lag : len(samples) - 30 - lag, 1])) for lag in lags]
    (source,) = found(samples)
    assert source.delay * RATE == pytest.approx(lags[int(np.argmax(sums))], abs=0.6)


def test_two_sources_at_the_same_time() -> None:
    samples = from_direction(noise(48000, -25, 1), -40) + from_direction(noise(48000, -27, 2), 30)
    assert sorted(degrees(found(samples))) == pytest.approx([-40, 30], abs=4)


def test_two_sources_one_after_the_other() -> None:
    samples = np.concatenate([from_direction(noise(48000, -25, 1), -40), from_direction(noise(48000, -25, 2), 30)])
    sources = sorted(found(samples), key=lambda source: source.index)
    assert degrees(sources) == pytest.approx([-40, 30], abs=2)
    assert sources[0].index == 0
    assert sources[1].index == pytest.approx(48000, abs=20000)


def test_the_index_is_where_it_begins() -> None:
    samples = np.concatenate([np.zeros((100_000, 2)), from_direction(noise(24000, -25), 20)])
    (source,) = found(samples)
    assert source.index == pytest.approx(100_000, abs=4096)


@pytest.mark.parametrize("level", [-45, -20])
def test_noise_of_no_direction_is_no_source(level: float) -> None:
    assert found(noise(96000, level).reshape(-1, 2)) == []


def test_only_where_there_is_sound() -> None:
    faint = from_direction(noise(24000, -70), 20)
    assert found(faint) == []
    assert len(found(faint, gate=-90)) == 1
    assert found(np.zeros((24000, 2))) == []
    assert found(np.full((24000, 2), 0.3), gate=-60) == []  # a constant offset


@pytest.mark.parametrize("frames", [0, 1, 2, 100, 4095, 4097])
def test_any_length_will_do(frames: int) -> None:
    sources = found(from_direction(noise(8192, -20), 25)[:frames])
    assert all(abs(angle) <= 90 for angle in degrees(sources))
    assert len(sources) <= 1


def test_a_tone_has_one_direction() -> None:
    tone = 0.2 * np.sin(2 * np.pi * 440 / RATE * np.arange(24000))
    assert degrees(found(from_direction(tone, 25) + noise(48000, -80).reshape(-1, 2))) == [pytest.approx(25, abs=3)]


def test_yaw_is_limited() -> None:
    assert yaw_of(1.0, 0.2) == pytest.approx(np.pi / 2)
    assert yaw_of(-1.0, 0.2) == pytest.approx(-np.pi / 2)
    assert yaw_of(0.1 / SOUND_SPEED, 0.2) == pytest.approx(np.pi / 6)
