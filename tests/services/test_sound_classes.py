"""Names of sounds: `sound_detection` with `classes`, and the network behind it."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.signal import resample_poly

from models.manifest import DEFAULT_DIRECTORY
from shared.errors import ModelCorrupt, ModelMissing, UnreadableInput
from tests.services.helpers import Session, answer, given, labelled, loaded, network, wav
from workers.contract import Input, Item, Service
from workers.inference.onnx import OnnxModels
from workers.lib.audio import decode_wav
from workers.models import yamnet
from workers.services.sound_detection import SoundDetection

RATE = 16_000
INSTALLED = Path(os.environ.get("SENSORIUM_MODELS_DIR") or DEFAULT_DIRECTORY)
needs_yamnet = pytest.mark.models(yamnet.MODEL, yamnet.CLASS_MAP)


@cache
def service() -> Service[Any, Any]:
    return loaded(SoundDetection)


@cache
def vocabulary() -> yamnet.Vocabulary:
    return yamnet.read_vocabulary(INSTALLED / "sound" / "yamnet_class_map.csv")


def tones(seconds: float, *hertz: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return np.sum([0.25 * np.sin(2 * np.pi * each * time) for each in hertz], axis=0)


def busy_signal(seconds: float = 0.5) -> np.ndarray:
    """One beep of the tone of North American telephones for a busy line."""
    return tones(seconds, 480, 620)


def siren(seconds: float) -> np.ndarray:
    """From 600 to 1,400 Hz and back every two seconds, with two harmonics."""
    phase = 2 * np.pi * np.cumsum(1000 - 400 * np.cos(np.pi * np.arange(round(seconds * RATE)) / RATE)) / RATE
    return 0.3 * (np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase))


def scene(*sounds: np.ndarray, pause: float = 1.0, level: float = 1.0) -> np.ndarray:
    """Sounds with pauses before, between and after them, in noise of -66 dBFS."""
    quiet = np.zeros(round(pause * RATE))
    samples = np.concatenate([quiet, *(part for sound in sounds for part in (sound, quiet))])
    return level * samples + np.random.default_rng(0).normal(0, 10 ** (-66 / 20), len(samples))


def sound(samples: np.ndarray, rate: int = RATE, **parameters: object) -> Input:
    return given(SoundDetection, {"sound": wav(samples, rate)}, **{"classes": True, **parameters})


def names(found: dict[str, Any]) -> list[str]:
    return [each["name"] for each in found["classes"]]


def test_without_the_parameter_the_answer_is_what_it_was() -> None:
    for asked in ({}, {"classes": False}, {"classes": False, "max_classes": 3}):
        result = answer(service(), given(SoundDetection, {"sound": wav(scene(busy_signal()), RATE)}, **asked))
        assert list(result) == ["input_size", "nb_events", "events"]
        assert [list(event) for event in result["events"]] == [["index", "type"]] * 2


@needs_yamnet
def test_each_sound_is_named_beside_its_events() -> None:
    samples = scene(busy_signal(), siren(3.0))
    result = answer(service(), sound(samples))
    assert list(result) == ["input_size", "nb_events", "events", "sounds"]
    bounds = [event["index"] for event in result["events"]]
    assert [each[key] for each in result["sounds"] for key in ("start_index", "end_index")] == bounds
    first, second = result["sounds"]
    assert names(first)[0] == "Busy signal"
    assert names(second)[0] == "Siren"
    assert first["classes"][0] == {
        "name": "Busy signal",
        "mid": "/m/01z47d",
        "confidence": first["classes"][0]["confidence"],
    }
    for found in result["sounds"]:
        confidences = [each["confidence"] for each in found["classes"]]
        assert confidences == sorted(confidences, reverse=True)
        assert all(0 < confidence <= 1 for confidence in confidences)


@needs_yamnet
def test_what_is_quiet_all_through_has_no_sounds() -> None:
    assert answer(service(), sound(np.zeros(RATE)))["sounds"] == []
    assert answer(service(), sound(np.zeros(0)))["sounds"] == []


@needs_yamnet
@pytest.mark.parametrize("rate", [4_000, 8_000, 22_050, 44_100, 96_000, 192_000])
def test_any_rate(rate: int) -> None:
    divisor = int(np.gcd(rate, RATE))
    samples = resample_poly(scene(busy_signal(1.0)), rate // divisor, RATE // divisor)
    (found,) = answer(service(), sound(samples, rate))["sounds"]
    assert {"Busy signal", "Telephone"} <= set(names(found))


@needs_yamnet
def test_a_quiet_recording_has_the_same_names() -> None:
    (loud,) = answer(service(), sound(scene(siren(3.0))))["sounds"]
    (quiet,) = answer(service(), sound(scene(siren(3.0), level=0.05)))["sounds"]
    assert names(quiet)[:2] == names(loud)[:2] == ["Siren", "Alarm"]


@needs_yamnet
def test_so_many_names_and_no_more() -> None:
    samples = scene(tones(3.0, 350, 440))
    counts = [len(names(answer(service(), sound(samples, max_classes=most))["sounds"][0])) for most in (1, 2, 20)]
    assert counts[:2] == [1, 2]
    assert counts[2] > 2
    for most in (0, 21):
        with pytest.raises(ValidationError, match="max_classes"):
            sound(samples, max_classes=most)


@needs_yamnet
@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("size", [317, 8_192, 50_000])
def test_pieces_of_a_session_are_named_as_one_recording(rate: int, size: int) -> None:
    samples = scene(busy_signal(), siren(2.3), tones(1.2, 350, 440))
    samples = samples if rate == RATE else resample_poly(samples, rate // 100, RATE // 100)
    whole = answer(service(), sound(samples, rate))["sounds"]
    session, ended = Session(service()), []
    for start in range(0, len(samples), size):
        pieces = session.frame(sound(samples[start : start + size], rate))["sounds"]
        ended += [piece["classes"] for piece in pieces if "end_index" in piece]
    assert len(whole) == 3
    assert ended == [each["classes"] for each in whole]


@needs_yamnet
def test_a_sound_that_goes_on_is_named_in_every_piece() -> None:
    session = Session(service())
    pieces = np.split(scene(siren(4.0), pause=1.0), 6)
    answers = [session.frame(sound(piece))["sounds"] for piece in pieces]
    assert answers[0] == []
    keys = [[sorted(each) for each in found] for found in answers[1:]]
    assert keys == [[["classes", "start_index"]], *[[["classes"]]] * 3, [["classes", "end_index"]]]
    assert all(names(found[0])[0] == "Siren" for found in answers[2:])


@needs_yamnet
def test_the_state_is_bounded_and_there_only_when_sounds_are_named() -> None:
    session = Session(service())
    for piece in np.split(siren(20.0), 10):
        session.frame(sound(resample_poly(piece, 3, 1), 48_000))
        assert len(session.stored) < 60_000
    session.frame(given(SoundDetection, {"sound": wav(siren(1.0), RATE)}))
    assert len(session.stored) < 500


@needs_yamnet
def test_what_does_not_adjoin_is_heard_anew() -> None:
    session = Session(service())
    session.frame(sound(siren(2.0)))
    (after,) = session.frame(sound(tones(2.0, 350, 440)), skipped=1)["sounds"]
    assert "start_index" not in after, "the sound goes on, as far as its level tells"
    assert "Dial tone" in names(after)
    assert "Siren" not in names(after)
    (other,) = session.frame(sound(tones(2.0, 350, 440), 8_000))["sounds"]
    assert other["classes"] is not None


@needs_yamnet
def test_items_of_a_batch_do_not_touch_each_other() -> None:
    values = [
        sound(scene(siren(2.0))),
        sound(np.zeros((800, 2))),
        sound(scene(busy_signal())),
        sound(scene(siren(2.0)), classes=False),
    ]
    first, stereo, third, plain = service().process([Item(value) for value in values])
    assert isinstance(stereo, UnreadableInput)
    assert first.as_result() == answer(service(), values[0])
    assert third.as_result() == answer(service(), values[2])
    assert "sounds" not in plain.as_result()


def test_without_the_network_only_those_who_ask_for_names_get_an_error(tmp_path: Path) -> None:
    lacking = SoundDetection()
    lacking.load(OnnxModels(tmp_path))
    samples = scene(busy_signal())
    named, plain = lacking.process([Item(sound(samples)), Item(sound(samples, classes=False))])
    assert isinstance(named, ModelMissing)
    assert "run: sensorium models pull yamnet yamnet-classes" in named.message
    assert named.parameter == "classes"
    assert plain.as_result()["nb_events"] == 2


@needs_yamnet
@pytest.mark.parametrize("file", ["yamnet.onnx", "yamnet_class_map.csv"])
def test_a_damaged_file_is_named_and_harms_nobody_else(tmp_path: Path, file: str) -> None:
    shutil.copytree(INSTALLED / "sound", tmp_path / "sound")
    (tmp_path / "sound" / file).write_bytes(b"damaged")
    damaged = SoundDetection()
    damaged.load(OnnxModels(tmp_path))
    named, plain = damaged.process([Item(sound(scene(busy_signal()))), Item(sound(scene(busy_signal()), classes=False))])
    assert isinstance(named, ModelCorrupt)
    assert file in named.message
    assert plain.as_result()["nb_events"] == 2


@needs_yamnet
def test_the_table_has_the_classes_of_the_network() -> None:
    known = vocabulary()
    number = {name: index for index, name in enumerate(known.names)}

    def implied(name: str) -> set[str]:
        return {known.names[each] for each in known.implied[number[name]]}

    assert implied("Bark") == {"Dog", "Domestic animals, pets", "Animal"}
    assert implied("Baby cry, infant cry") == {"Crying, sobbing"}
    assert implied("Shatter") == {"Glass"}
    assert implied("Hiss") == set(), "of cats, of snakes, of steam"
    assert implied("Police car (siren)") == set() or "Siren" in implied("Police car (siren)")
    assert all(set(known.implied[each]) <= set(above) for above in known.implied for each in above), "not transitive"
    assert not np.isfinite(known.thresholds[[number[name] for name in ("Silence", "Inside, small room", "Echo")]]).any()
    finite = known.thresholds[np.isfinite(known.thresholds)]
    assert finite.min() >= 0.2
    assert finite.max() < 1


@needs_yamnet
def test_what_a_class_implies_is_named_with_it_and_at_least_as_probable() -> None:
    known = vocabulary()
    for seed in range(20):
        random = np.random.default_rng(seed)
        evidence = yamnet.Evidence()
        for _ in range(3):
            evidence.add(random.uniform(0, 1, yamnet.CLASSES).astype(np.float32) ** 4)
        found = {each.mid: each.confidence for each in known.named(evidence, 20)}
        assert len(found) == 20
        everything = {each.mid: each.confidence for each in known.named(evidence, yamnet.CLASSES)}
        for mid, confidence in everything.items():
            for above in known.implied[known.mids.index(mid)]:
                if np.isfinite(known.thresholds[above]):
                    assert everything[known.mids[above]] >= confidence


@needs_yamnet
def test_the_front_end_computes_the_features_that_it_is_defined_by() -> None:
    """log(mel + 0.001): 64 bands from 125 to 7,500 Hz of the magnitudes of a 512-point transform, every 10 ms
    of 25 ms windows."""
    samples = (siren(1.0) + np.random.default_rng(3).normal(0, 0.02, RATE)).astype(np.float32)[:15_600]
    window = np.hanning(401)[:400]
    spectra = np.abs([np.fft.rfft(samples[start : start + 400] * window, 512) for start in range(0, 15_201, 160)])[:96]
    mel = 1127 * np.log(1 + np.linspace(0, 8000, 257) / 700)
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bands = np.clip(np.minimum((mel - low) / (middle - low), (high - mel) / (high - middle)), 0, None)
    expected = np.log(spectra @ bands.T + 0.001)
    made = network(yamnet.MODEL).run({"waveform": samples[None]})["log_mel"][0]
    np.testing.assert_allclose(made, expected, atol=2e-3)


#: Scores of the published TensorFlow Lite file, computed with another interpreter (LiteRT 2.3.0): file, first
#: sample at 16 kHz, scores.
PUBLISHED = {
    "dog.wav": (134_400, {"Animal": 0.7848, "Domestic animals, pets": 0.7166, "Cat": 0.1491}),
    "typing.wav": (60_800, {"Typing": 0.9934, "Computer keyboard": 0.9519}),
    "car-horn.wav": (24_000, {"Toot": 0.7579, "Vehicle": 0.7085, "Vehicle horn, car horn, honking": 0.5395}),
    "rain.wav": (129_600, {"Water": 0.7675, "Stream": 0.6449}),
    "applause.wav": (25_600, {"Applause": 0.9928}),
}


@needs_yamnet
@pytest.mark.parametrize("file", PUBLISHED)
def test_scores_are_those_of_the_published_network(file: str) -> None:
    """Up to its front end, whose filters the published file has in 8 bits."""
    folder, _ = labelled("sound_detection")
    waveform = decode_wav((folder / file).read_bytes(), max_seconds=60)
    mono = waveform.samples.mean(axis=1)
    at_16_khz = resample_poly(mono, 160, 441) if waveform.rate == 44_100 else resample_poly(mono, 1, 3)
    start, expected = PUBLISHED[file]
    excerpt = np.rint(at_16_khz[start : start + 15_600] * 32768).astype(np.int16)
    (scores,) = yamnet.hear(network(yamnet.MODEL), [excerpt], [1.0])
    made = {name: float(scores[vocabulary().names.index(name)]) for name in expected}
    assert made == pytest.approx(expected, abs=0.08)


#: Of each labelled recording what its first name may be: its class or what that implies.
LABELS = {
    "car horn": {"Vehicle horn, car horn, honking", "Toot", "Vehicle"},
    "applause": {"Applause", "Clapping"},
    "dog": {"Dog", "Bark", "Domestic animals, pets", "Animal"},
    "piano": {"Piano", "Keyboard (musical)", "Musical instrument", "Music"},
    "typing": {"Typing", "Computer keyboard"},
    "rain": {"Rain", "Water"},
}


@needs_yamnet
def test_labelled_sounds_have_their_names() -> None:
    folder, rows = labelled("sound_detection")
    for row in rows:
        waveform = decode_wav((folder / row["file"]).read_bytes(), max_seconds=60)
        sounds = answer(service(), sound(waveform.samples.mean(axis=1), waveform.rate))["sounds"]
        longest = max(sounds, key=lambda found: found["end_index"] - found["start_index"])
        assert names(longest)[0] in LABELS[row["label"]], row["file"]
