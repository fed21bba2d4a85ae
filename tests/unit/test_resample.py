from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from workers.lib.resample import Resampler

RATES = (8000, 11025, 12345, 16000, 22050, 24000, 32000, 44100, 44099, 48000)


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_a_tone_stays_where_it_is(rate: int, share: float) -> None:
    """Frequency, height and place in time of a tone, up to 80 % of the band that both rates have."""
    hertz = share * min(rate, 16000) / 2
    made = Resampler(rate, 16000).whole(tone(hertz, rate))
    expected = tone(hertz, 16000)
    assert len(made) == -(-len(tone(hertz, rate)) * 16000 // rate)
    middle = slice(400, min(len(made), len(expected)) - 400)
    assert made[middle] == pytest.approx(expected[middle], abs=0.012)


@pytest.mark.parametrize("rate", [22050, 32000, 44100, 48000])
def test_what_the_lower_rate_cannot_hold_is_gone(rate: int) -> None:
    """No aliases: a tone above 16 kHz's Nyquist frequency leaves less than -50 dB."""
    made = Resampler(rate, 16000).whole(tone(min(8200, 0.48 * rate), rate))
    assert np.abs(made[400:-400]).max() < 10 ** (-50 / 20)


@pytest.mark.parametrize("rate", [8000, 24000, 44100, 48000])
def test_close_to_the_resampler_of_scipy(rate: int) -> None:
    """A sound of many tones, below the band's edge where the two filters differ."""
    random = np.random.default_rng(0)
    sound = sum(tone(hertz, rate, 1) for hertz in random.uniform(100, 3000, 20)) / 20
    divisor = np.gcd(rate, 16000)
    expected = resample_poly(sound, 16000 // divisor, rate // divisor, window=("kaiser", 7.0))
    made = Resampler(rate, 16000).whole(sound.astype(np.float32))
    assert made[500:-500] == pytest.approx(expected[500:-500], abs=0.01)


@given(st.sampled_from(RATES), st.lists(st.integers(0, 3000), max_size=12), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_pieces_make_the_same_sound_as_the_whole(rate: int, lengths: list[int], seed: int) -> None:
    resampler = Resampler(rate, 16000)
    sound = np.random.default_rng(seed).normal(0, 0.1, sum(lengths)).astype(np.float32)
    carry = resampler.start()
    pieces = [resampler.feed(piece, carry) for piece in np.split(sound, np.cumsum(lengths))]
    joined, whole = np.concatenate(pieces), resampler.whole(sound)
    late = int(np.ceil((resampler.reach + 1) * 16000 / rate)) if rate != 16000 else 0
    assert len(whole) - late - 1 <= len(joined) <= len(whole)
    # what the last `reach` inputs still take part in differs: the whole knows that silence follows
    assert np.allclose(joined, whole[: len(joined)], atol=1e-6)
    assert len(carry.tail) <= 2 * resampler.reach + 1 or rate == 16000


def test_the_same_rate_changes_nothing() -> None:
    sound = tone(440, 16000)
    assert Resampler(16000, 16000).whole(sound) is sound


@pytest.mark.parametrize("rate", [8000, 44100])
def test_nothing_in_nothing_out(rate: int) -> None:
    assert len(Resampler(rate, 16000).whole(np.zeros(0, np.float32))) == 0
    assert len(Resampler(rate, 16000).whole(np.ones(1, np.float32))) == -(-16000 // rate)


def test_a_minute_is_quick() -> None:
    """A sound of the longest length, from the rate that costs most."""
    sound = np.zeros(60 * 48000, np.float32)
    begin = time.process_time()
    Resampler(48000, 16000).whole(sound)
    assert time.process_time() - begin < 3
