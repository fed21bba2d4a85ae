from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from shared.errors import UnreadableInput
from tests.services.helpers import answer, given, labelled, loaded, wav
from tests.unit.test_localize import from_direction, noise
from workers.contract import Input
from workers.services.sound_localization import SoundLocalization


def sound(samples: np.ndarray, rate: int = 48000, **parameters: object) -> Input:
    return given(SoundLocalization, {"sound": wav(samples, rate)}, **{"baseline": 0.2, **parameters})


def test_a_source_on_the_right() -> None:
    samples = from_direction(noise(8192, -25), 30) + noise(16384, -55, 1).reshape(-1, 2)
    result = answer(loaded(SoundLocalization), sound(samples))
    assert result["input_size"] == 8192
    assert result["nb_sources"] == 1
    (source,) = result["sources"]
    assert set(source) == {"index", "yaw", "confidence"}
    assert source["yaw"] == pytest.approx(math.radians(30), abs=0.03)
    assert source["confidence"] > 0.95


def test_the_second_channel_is_the_right_one() -> None:
    samples = from_direction(noise(8192, -25), 30)
    right = answer(loaded(SoundLocalization), sound(samples))["sources"][0]["yaw"]
    left = answer(loaded(SoundLocalization), sound(samples[:, ::-1]))["sources"][0]["yaw"]
    assert right > 0
    assert left == pytest.approx(-right, abs=0.01)


def test_silence_and_noise_have_no_sources() -> None:
    for samples in (np.zeros((0, 2)), np.zeros((8192, 2)), noise(96000, -30).reshape(-1, 2)):
        result = answer(loaded(SoundLocalization), sound(samples))
        assert (result["input_size"], result["nb_sources"], result["sources"]) == (len(samples), 0, [])


def test_a_higher_sensitivity_locates_quieter_sounds() -> None:
    for level, least in ((-30, 0.0), (-48, 0.5), (-58, 1.0)):
        value = from_direction(noise(24000, level + 8), 20)  # a sixth of the noise's power lies within the band
        counts = [answer(loaded(SoundLocalization), sound(value, sensitivity=each))["nb_sources"] for each in (0.0, 0.5, 1.0)]
        assert counts == [int(each >= least) for each in (0.0, 0.5, 1.0)]


def test_confidence_falls_with_the_noise() -> None:
    source = from_direction(noise(48000, -25), 20)
    found = []
    for level in (-60, -20, -13, -11):
        sources = answer(loaded(SoundLocalization), sound(source + noise(96000, level, 3).reshape(-1, 2), sensitivity=1))["sources"]
        found.append(sources[0]["confidence"] if sources else 0.0)
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.99
    assert found[-1] < 0.9


@pytest.mark.parametrize("baseline", [0, -0.2, 0.009, 2.1, "wide", float("nan"), float("inf"), None])
def test_a_baseline_out_of_bounds_is_named(baseline: object) -> None:
    with pytest.raises(ValidationError, match="baseline"):
        sound(np.zeros((10, 2)), baseline=baseline)


def test_the_baseline_is_required() -> None:
    with pytest.raises(ValidationError, match="baseline"):
        given(SoundLocalization, {"sound": wav(np.zeros((10, 2)), 48000)})


@pytest.mark.parametrize("sensitivity", [-0.1, 1.1, float("nan")])
def test_a_sensitivity_out_of_range(sensitivity: float) -> None:
    with pytest.raises(ValidationError, match="sensitivity"):
        sound(np.zeros((10, 2)), sensitivity=sensitivity)


def test_mono_is_refused_saying_what_is_needed() -> None:
    with pytest.raises(UnreadableInput, match="stereo") as caught:
        answer(loaded(SoundLocalization), sound(np.zeros(800)))
    assert caught.value.parameter == "sound"


def test_a_low_rate_is_refused_saying_what_is_needed() -> None:
    with pytest.raises(UnreadableInput, match="48,000"):
        answer(loaded(SoundLocalization), sound(np.zeros((800, 2)), 8000))


def test_other_rates_will_do() -> None:
    for rate in (16000, 44100, 96000, 192_000):
        samples = from_direction(noise(rate // 4, -25), -20, 0.2, rate)
        (source,) = answer(loaded(SoundLocalization), sound(samples, rate))["sources"]
        assert source["yaw"] == pytest.approx(math.radians(-20), abs=0.03)


def test_one_item_with_an_error_does_not_fail_its_neighbours() -> None:
    from workers.contract import Item

    service = loaded(SoundLocalization)
    first, second = service.process([Item(sound(np.zeros(800))), Item(SoundLocalization.example())])
    assert isinstance(first, UnreadableInput)
    assert not isinstance(second, Exception)


def test_the_example_has_a_source() -> None:
    (source,) = answer(loaded(SoundLocalization), SoundLocalization.example())["sources"]
    assert source["yaw"] == pytest.approx(math.asin(10 / 48000 * 343 / 0.14), abs=0.01)


def test_labelled_directions() -> None:
    """Speech at the ears of a dummy head: the error up to 60 degrees, and the side."""
    folder, rows = labelled("sound_localization")
    errors = []
    for row in rows:
        azimuth = float(row["azimuth_deg"])
        value = given(SoundLocalization, {"sound": (folder / row["file"]).read_bytes()}, baseline=0.2)
        (source,) = answer(loaded(SoundLocalization), value)["sources"]
        yaw = math.degrees(source["yaw"])
        if azimuth:
            assert yaw * azimuth > 0, row["file"]
        if abs(azimuth) <= 60:
            errors.append(abs(yaw - azimuth))
    assert np.median(errors) <= 1.25
    assert np.percentile(errors, 90) <= 7.4
