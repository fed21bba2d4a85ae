from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.signal import resample_poly

from shared.errors import UnreadableInput
from tests.services.helpers import Session, answer, by_file, given, labelled, loaded, network, wav
from workers.contract import Input, Item
from workers.espeak import open_espeak
from workers.lib.audio import decode_wav
from workers.models import silero
from workers.services.voice_detection import VoiceDetection

RATES = (8000, 11025, 16000, 22050, 44100, 48000, 192_000)
VOICED = ("ON", "VOICE", "OFF")
#: By how much of a voice an answer tells of.
AMOUNT = {"SILENCE": 0, "ON": 1, "OFF": 1, "VOICE": 2}


@cache
def speech() -> np.ndarray:
    """float32 [k] at 16 kHz, about five seconds without a pause."""
    espeak = open_espeak()
    text = "the quick brown fox jumps over the lazy dog and then it runs away into the woods behind the old house"
    samples = np.frombuffer(espeak.speak(text, "en-us", 60), "<i2").astype(np.float32) / 32768
    return resample_poly(samples, 320, 441)[4000:-8000]


def scene(rate: int = 16000, before: float = 1.5, after: float = 2.0, level: float = 1.0) -> np.ndarray:
    """Silence with faint noise, a voice, silence."""
    voice = level * speech()
    samples = np.concatenate([np.zeros(round(before * 16000)), voice, np.zeros(round(after * 16000))])
    samples = samples + np.random.default_rng(0).normal(0, 1e-4, len(samples))
    divisor = np.gcd(rate, 16000)
    return samples if rate == 16000 else resample_poly(samples, rate // divisor, 16000 // divisor)


def sound(samples: np.ndarray, rate: int = 16000, sensitivity: float | None = None) -> Input:
    return given(VoiceDetection, {"sound": wav(samples, rate)}, **({} if sensitivity is None else {"sensitivity": sensitivity}))


def alone(samples: np.ndarray, rate: int = 16000, sensitivity: float | None = None) -> str:
    return answer(loaded(VoiceDetection), sound(samples, rate, sensitivity))["voice_activity"]


def in_session(samples: np.ndarray, rate: int = 16000, size: int = 8192, sensitivity: float | None = None) -> list[str]:
    session = Session(loaded(VoiceDetection))
    starts = range(0, len(samples), size)
    return [session.frame(sound(samples[start : start + size], rate, sensitivity))["voice_activity"] for start in starts]


@pytest.mark.parametrize("rate", RATES)
def test_a_voice_begins_goes_on_and_ends(rate: int) -> None:
    answers = in_session(scene(rate), rate)
    kinds = [kind for index, kind in enumerate(answers) if index == 0 or kind != answers[index - 1]]
    assert kinds == ["SILENCE", "ON", "VOICE", "OFF", "SILENCE"]
    seconds = 8192 / rate
    assert answers.index("ON") * seconds == pytest.approx(1.5 - seconds / 2, abs=seconds / 2 + 0.15)
    end = 1.5 + len(speech()) / 16000
    assert answers.index("OFF") * seconds == pytest.approx(end + 0.3 - seconds / 2, abs=seconds / 2 + 0.3)


@pytest.mark.parametrize("size", [160, 512, 1000, 4096, 30_000])
def test_the_size_of_the_pieces_does_not_matter(size: int) -> None:
    samples = scene()
    answers = in_session(samples, size=size)
    began, ended = answers.index("ON"), len(answers) - 1 - answers[::-1].index("OFF")
    assert (began * size + size / 2) / 16000 == pytest.approx(1.5, abs=size / 32000 + 0.2)
    assert (ended * size + size / 2) / 16000 == pytest.approx(1.8 + len(speech()) / 16000, abs=size / 32000 + 0.35)
    assert set(answers[began + 1 : ended]) <= {"VOICE"}


def test_without_a_session_there_is_a_voice_or_none() -> None:
    assert alone(scene()) == "VOICE"
    assert alone(scene(before=0, after=0)) == "VOICE"
    assert alone(scene(44100), 44100) == "VOICE"
    assert alone(np.zeros(32000)) == "SILENCE"


@pytest.mark.parametrize("frames", [0, 1, 511])
def test_next_to_nothing_is_silence(frames: int) -> None:
    assert alone(np.zeros(frames)) == "SILENCE"
    assert in_session(np.zeros(frames), size=max(frames, 1)) == ["SILENCE"] * bool(frames)


@pytest.mark.parametrize("rate", RATES)
def test_other_sounds_are_no_voice(rate: int) -> None:
    random = np.random.default_rng(1)
    time = np.arange(3 * rate) / rate
    tone = 0.3 * np.sin(2 * np.pi * 440 * time)
    clicks = np.where(random.random(3 * rate) < 10 / rate, 0.9, 0.0)
    for samples in (random.normal(0, 0.1, 3 * rate), tone, clicks, 0.3 * np.sign(tone)):
        assert alone(samples, rate) == "SILENCE"
        assert set(in_session(samples, rate)) == {"SILENCE"}


def test_a_higher_sensitivity_never_gives_less_voice() -> None:
    random = np.random.default_rng(2)
    some = {}
    for level in (0.3, 0.02, 0.006):
        samples = scene(level=level) + random.normal(0, 0.004, len(scene()))
        amounts = np.array([[AMOUNT[kind] for kind in in_session(samples, sensitivity=each)] for each in np.linspace(0, 1, 9)])
        assert np.all(np.diff(amounts, axis=0) >= 0)
        alones = [AMOUNT[alone(samples, sensitivity=each)] for each in np.linspace(0, 1, 9)]
        assert alones == sorted(alones)
        some[level] = amounts.sum(axis=1)
    assert any(sums[0] < sums[-1] for sums in some.values()), "nothing depends on the sensitivity"


def test_the_default_sensitivity_is_a_half() -> None:
    samples = scene(level=0.02) + np.random.default_rng(2).normal(0, 0.004, len(scene()))
    assert in_session(samples) == in_session(samples, sensitivity=0.5)


@pytest.mark.parametrize("sensitivity", [-0.1, 1.1, "loud", float("nan")])
def test_a_sensitivity_out_of_range(sensitivity: object) -> None:
    with pytest.raises(ValidationError, match="sensitivity"):
        given(VoiceDetection, {"sound": wav(np.zeros(100), 8000)}, sensitivity=sensitivity)


def test_stereo_is_refused_and_its_neighbours_are_answered() -> None:
    service = loaded(VoiceDetection)
    values = [sound(scene()), sound(np.zeros((800, 2))), sound(np.zeros(9000))]
    first, second, third = service.process([Item(value) for value in values])
    assert isinstance(second, UnreadableInput)
    assert "mono" in second.message
    assert second.parameter == "sound"
    assert [first.as_result(), third.as_result()] == [{"voice_activity": "VOICE"}, {"voice_activity": "SILENCE"}]


def test_sessions_in_one_batch_do_not_touch_each_other() -> None:
    service = loaded(VoiceDetection)
    state = VoiceDetection.state_type
    assert state is not None
    voice, silence = scene(before=0), np.zeros(len(scene(before=0)))
    states = [state(), state(), state()]
    answers: list[list[str]] = [[], [], []]
    for start in range(0, len(voice), 8192):
        pieces = [voice[start : start + 8192], silence[start : start + 8192], voice[start : start + 8192][:700]]
        outputs = service.process([Item(sound(piece), kept) for piece, kept in zip(pieces, states, strict=True)])
        for kinds, output in zip(answers, outputs, strict=True):
            kinds.append(output.as_result()["voice_activity"])
    assert answers[0] == in_session(voice)
    assert set(answers[1]) == {"SILENCE"}


def test_missing_frames_and_another_rate_are_survived() -> None:
    session = Session(loaded(VoiceDetection))
    voice = speech()
    assert session.frame(sound(voice[:16384]))["voice_activity"] == "ON"
    assert session.frame(sound(voice[40000:56384]), skipped=3)["voice_activity"] == "VOICE"
    assert session.frame(sound(resample_poly(voice, 3, 1)[:48000], 48000))["voice_activity"] == "VOICE"


def test_the_state_is_small() -> None:
    session = Session(loaded(VoiceDetection))
    for start in range(0, 96000, 8192):
        session.frame(sound(scene(48000)[start : start + 8192], 48000))
    assert len(session.stored) < 6000


def test_the_network_by_hand() -> None:
    """Probabilities against the plainest loop: one stream, chunk after chunk, with what Silero documents."""
    samples = speech()[:40_000].astype(np.float32)
    net = network(silero.MODEL)
    memory, context, expected = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
    for start in range(0, len(samples) - 511, 512):
        chunk = samples[start : start + 512]
        made = net.run({"input": np.concatenate([context, chunk])[None], "state": memory, "sr": np.array(16000)})
        memory, context = made["stateN"], chunk[-64:]
        expected.append(float(made["output"][0, 0]))
    streams = [silero.Stream(), silero.Stream()]
    found: list[list[float]] = [[], []]
    for start in range(0, len(samples), 3000):
        pieces = [samples[start : start + 3000], samples[start // 2 : start // 2 + 1500]]
        for chances, heard in zip(found, silero.listen(net, streams, pieces), strict=True):
            chances.extend(heard.tolist())
        streams = [silero.Stream.unpack(stream.pack()) for stream in streams]
    assert found[0] == pytest.approx(expected, abs=1e-4)
    assert found[1] == pytest.approx(expected[: len(found[1])], abs=1e-4)
    assert len(found[1]) == 14 * 1500 // 512
    assert max(expected) > 0.9


def test_labelled_speech() -> None:
    """Pieces of 8,192 samples in one session; ON counts for the second half of its piece, OFF for the first."""
    folder, rows = labelled("voice_detection")
    right = wrong = missed = 0
    for name, stretches in by_file(rows):
        waveform = decode_wav((folder / name).read_bytes(), max_seconds=60)
        if waveform.rate != 16000 or waveform.channels != 1:
            continue
        samples = waveform.samples[:, 0]
        heard = np.zeros(len(samples), bool)
        for number, kind in enumerate(in_session(samples)):
            piece = slice(number * 8192, min((number + 1) * 8192, len(samples)))
            middle = (piece.start + piece.stop) // 2
            heard[slice(middle if kind == "ON" else piece.start, middle if kind == "OFF" else piece.stop)] = kind in VOICED
        times = np.arange(len(samples)) / 16000
        spoken = np.zeros(len(samples), bool)
        for row in stretches:
            spoken |= (row["speech"] == "1") & (times >= float(row["start_s"])) & (times < float(row["end_s"]))
        if not spoken.any():
            assert not heard.any(), name
        right, wrong, missed = right + (heard & spoken).sum(), wrong + (heard & ~spoken).sum(), missed + (spoken & ~heard).sum()
    assert 2 * right / (2 * right + wrong + missed) > 0.897


def test_labelled_sounds_without_a_voice() -> None:
    folder, rows = labelled("sound_detection")
    for row in rows:
        waveform = decode_wav((folder / row["file"]).read_bytes(), max_seconds=60)
        mono = waveform.samples.mean(axis=1)
        assert set(in_session(mono, waveform.rate)) == {"SILENCE"}, row["file"]
