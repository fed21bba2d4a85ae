from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from workers.lib.excerpts import Format, Listener, Recording

HEARD = Format(rate=16_000, length=1_000, step=480, before=100, late=128)
HOLD = 300


def ramp(frames: int, rate: int = 16_000) -> np.ndarray:
    """float32 [frames]: a slow oscillation that has another value at each frame of a few thousand."""
    return (0.5 * np.sin(2 * np.pi * 3.3 * np.arange(frames) / rate)).astype(np.float32)


def excerpts(samples: np.ndarray, cuts: Sequence[int], began: int, known: int, rate: int = 16_000) -> list[np.ndarray]:
    """Those of one sound, ``began`` and ``known`` in frames of a recording that comes in pieces cut at
    ``cuts``."""
    recording, listener, taken = Recording(rate), None, []
    for first, end in zip([0, *cuts], [*cuts, len(samples)], strict=True):
        recording.add(samples[first:end], HEARD, last=not cuts)
        if listener is None and began < end:
            listener = Listener.of(recording.place(began - first, HEARD), HEARD)
        if listener is not None and end < known:
            taken += listener.take(recording, recording.place(end - first, HEARD), HOLD, HEARD, over=False)
        elif listener is not None:
            taken += listener.take(recording, recording.place(known - first, HEARD), HOLD, HEARD, over=True)
            break
        recording.forget(HEARD)
    return taken


def stored(samples: np.ndarray) -> np.ndarray:
    return np.rint(samples * 32768).astype(np.int16)


def test_a_long_sound_is_heard_in_overlapping_excerpts_to_its_end() -> None:
    samples = ramp(8000)
    taken = excerpts(samples, (), began=2000, known=5000)
    starts = [1900, 2380, 2860, 3340, 3820]  # the next would end after 5000 - 128
    assert len(taken) == len(starts)
    for start, found in zip(starts, taken, strict=True):
        np.testing.assert_array_equal(found, stored(samples[start : start + 1000]))


def test_a_sound_that_no_full_excerpt_hears_to_the_end_has_one_that_ends_where_its_end_was_known() -> None:
    samples = ramp(8000)
    (short,) = excerpts(samples, (), began=4000, known=4400)
    np.testing.assert_array_equal(short, stored(samples[4272 - 1000 : 4272]))
    full, last = excerpts(samples, (), began=2000, known=3480)  # the first ends at 2900, the next would at 3380
    np.testing.assert_array_equal(full, stored(samples[1900:2900]))
    np.testing.assert_array_equal(last, stored(samples[3352 - 1000 : 3352]))


def test_before_a_recording_there_was_silence() -> None:
    samples = ramp(700)
    (found,) = excerpts(samples, (), began=0, known=700)
    np.testing.assert_array_equal(found[:428], 0)
    np.testing.assert_array_equal(found[428:], stored(samples[:572]))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("cut", [37, 400, 2_311])
def test_pieces_give_the_excerpts_of_the_whole(rate: int, cut: int) -> None:
    def scaled(sample: int) -> int:
        return sample * rate // 16_000

    samples = ramp(scaled(8_000), rate)
    cuts = range(scaled(cut), len(samples), scaled(cut))
    whole = excerpts(samples, (), scaled(2_000), scaled(5_000), rate)
    pieces = excerpts(samples, cuts, scaled(2_000), scaled(5_000), rate)
    np.testing.assert_array_equal(pieces, whole)


def test_what_is_kept_is_bounded() -> None:
    recording = Recording(48_000)
    for _ in range(20):
        recording.add(ramp(5_000, 48_000), HEARD, last=False)
        recording.forget(HEARD)
    assert len(recording.kept) == HEARD.length + HEARD.late + 400


def test_what_is_beyond_16_bit_is_limited() -> None:
    recording = Recording(16_000)
    recording.add(np.array([2.0, -2.0, 1.0], np.float32), HEARD, last=True)
    assert recording.kept.tolist() == [32767, -32768, 32767]
