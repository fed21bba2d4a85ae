from __future__ import annotations

import base64
import json
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from shared.errors import InputTooLarge, ModelMissing, UnreadableInput
from tests.services.helpers import answer, given, loaded, network, wav
from workers.contract import Files, MediaLimits
from workers.espeak import Clause, open_espeak
from workers.lib.audio import Waveform, decode_wav
from workers.services.text_to_speech import LANGUAGES, TextToSpeech
from workers.services.voice_detection import VoiceDetection

TEXTS = {
    "en-US": "Hi guys, how are you today? The weather is lovely.",
    "en-GB": "Hi guys, how are you today? The weather is lovely.",
    "de-DE": "Hallo Leute, wie geht es euch heute? Das Wetter ist schön.",
    "es-ES": "Hola chicos, ¿cómo estáis hoy? Hace muy buen tiempo.",
    "fr-FR": "Salut les amis, comment allez-vous aujourd'hui ? Il fait beau.",
    "it-IT": "Ciao ragazzi, come state oggi? Il tempo è bellissimo.",
}


def decoded(result: dict[str, Any]) -> Waveform:
    """As a program of the reference does it."""
    return decode_wav(zlib.decompress(base64.b64decode(result["sound"], validate=True)), max_seconds=600)


@cache
def service() -> TextToSpeech:
    """Loaded once: the dictionaries of a neural voice take seconds."""
    return loaded(TextToSpeech)  # type: ignore[return-value]


def speak(text: str, lang: str = "en-US", engine: str = "espeak", **limits: float) -> Waveform:
    files = Files({}, MediaLimits(**limits))  # type: ignore[arg-type]
    value = TextToSpeech.input_type.model_validate({"text": text, "lang": lang, "engine": engine}, context=files.context())
    return decoded(answer(service(), value))


def said(text: str, voice: str = "en-us") -> str:
    return " ".join(clause.phonemes for clause in open_espeak().phonemes(text, voice))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_language_is_spoken(lang: str) -> None:
    result = answer(service(), given(TextToSpeech, text=TEXTS[lang], lang=lang, engine="espeak"))
    assert result["voice"] == f"espeak-ng/{LANGUAGES[lang]}"
    speech = decoded(result)
    assert speech.channels == 1
    assert 8 < len(TEXTS[lang]) / speech.seconds < 25, "characters a second"
    assert 0.1 < np.abs(speech.samples).max() <= 1
    sound = given(VoiceDetection, {"sound": wav(speech.samples, speech.rate)})
    assert answer(loaded(VoiceDetection), sound) == {"voice_activity": "VOICE"}


def test_the_languages_sound_different() -> None:
    """The same letters in each language: other sounds, and other speech."""
    text = "Radio, idea, minute, orange, village, question."
    assert len({said(text, voice) for voice in LANGUAGES.values()}) == len(LANGUAGES)
    spectra = {}
    for lang in LANGUAGES:
        samples = speak(text, lang).samples[:, 0]
        frames = np.abs(np.fft.rfft(samples[: len(samples) // 512 * 512].reshape(-1, 512), axis=1))
        spectra[lang] = np.log(frames + 1e-3)[:80]
    again = np.log(np.abs(np.fft.rfft(speak(text).samples[: 80 * 512, 0].reshape(-1, 512), axis=1)) + 1e-3)
    same = np.abs(spectra["en-US"] - again).mean()
    for lang in LANGUAGES:
        if lang != "en-US":
            assert np.abs(spectra["en-US"] - spectra[lang]).mean() > 1.5 * same, lang


def test_the_sound_is_a_plain_wav_file() -> None:
    content = zlib.decompress(base64.b64decode(answer(service(), TextToSpeech.example())["sound"]))
    assert content[:4] == b"RIFF"
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    assert int.from_bytes(content[34:36], "little") == 16


@pytest.mark.parametrize("text", ['Wait <break time="20s"/> here', "Wait [[h@'loU]] here", "a & b < c > d", "<speak>Hello</speak>"])
def test_markup_is_read_as_text(text: str) -> None:
    speech = speak(text)
    assert 1 < speech.seconds < 8
    words = said(text)
    assert len(words) > len(said("Wait here" if "Wait" in text else "Hello")) + 8


def test_control_characters_are_pauses() -> None:
    assert said("one\x00two\x01\x02three\x7f\x9ffour") == said("one two three four")
    # \x01 begins a command of the synthesiser: this one would double its speed
    assert speak("\x01400S" + "A long sentence follows here.").seconds > speak("A long sentence follows here.").seconds


@pytest.mark.parametrize(
    "text",
    [
        "😀👨‍👩‍👧‍👦🏳️‍🌈",
        "مرحبا بالعالم",
        "שלום עולם",
        "\u202etxet desrever\u202c",
        "日本語のテキスト",
        "é̂̃ a\u0301\u0302" * 50,
        "\U0010ffff\ufffe\ufdd0 x",
        "a" * 500,
        "7" * 500,
        "😀" * 500,
    ],
    ids=range(10),
)
@pytest.mark.parametrize("lang", ["en-US", "de-DE"])
def test_any_text_is_answered(text: str, lang: str) -> None:
    speech = speak(text, lang)
    assert speech.rate == 22050
    assert speech.frames > 0


@pytest.mark.parametrize("text", ["a" * 5000, "7" * 5000, "😀" * 5000])
def test_text_that_lasts_longer_than_is_allowed_is_never_cut_short(text: str) -> None:
    """eSpeak NG is silent after 8 s of a word and 12 s of a number: such runs are taken apart, and then they are what they are."""
    with pytest.raises(InputTooLarge, match="600 s"):
        speak(text)


@pytest.mark.parametrize("engine", ["espeak", "neural"])
@pytest.mark.parametrize(
    ("text", "counts"), [("9", (60, 100, 300, 600)), ("hello", (10, 20, 50, 100)), ("x ", (20, 40, 80)), ("z", (20, 60, 200))]
)
def test_long_runs_last_as_long_as_they_are(text: str, counts: tuple[int, ...], engine: str) -> None:
    if engine == "neural":
        network("hibari")
    lasts = [speak(text * count, engine=engine).seconds / count for count in counts]
    assert max(lasts) < 1.35 * min(lasts), lasts


def test_after_any_text_speech_is_as_before() -> None:
    before = speak(TEXTS["en-US"]).seconds
    with pytest.raises(InputTooLarge):
        speak("word " * 100, speech_seconds=2)
    speak("\x01400S😀 <x> 12345", "it-IT")
    assert speak(TEXTS["en-US"]).seconds == pytest.approx(before, rel=0.02)


def test_a_text_that_is_too_long_is_refused_with_the_limit() -> None:
    with pytest.raises(InputTooLarge, match="5000") as caught:
        speak("a" * 5001)
    assert caught.value.parameter == "text"
    with pytest.raises(InputTooLarge, match="at most 10"):
        speak("a" * 11, text_characters=10)
    assert speak("a" * 10, text_characters=10).frames > 0


def test_speech_that_is_too_long_is_refused_with_the_limit() -> None:
    with pytest.raises(InputTooLarge, match="600 s") as caught:
        speak("€9 " * 1666)
    assert caught.value.parameter == "text"


@pytest.mark.parametrize("text", ["", "   ", "\n\t\r", "\x00\x01", "\ud800", None, 5, ["a"], "—", "...", "①②", "!?.,;:", "()"])
def test_nothing_to_say_is_named(text: object) -> None:
    with pytest.raises(ValidationError, match="text"):
        given(TextToSpeech, text=text, lang="en-US")


@pytest.mark.parametrize("lang", ["nl-NL", "en", "en-us", "", "../de", "x" * 10_000])
def test_another_language_is_refused_saying_which_there_are(lang: str) -> None:
    with pytest.raises(UnreadableInput, match="it-IT") as caught:
        given(TextToSpeech, text="Hello", lang=lang)
    assert caught.value.parameter == "lang"
    assert len(caught.value.message) < 200


def test_the_language_is_required() -> None:
    for parameters in ({}, {"lang": None}, {"lang": 3}):
        with pytest.raises(ValidationError, match="lang"):
            given(TextToSpeech, text="Hello", **parameters)


def test_the_languages_are_in_the_schema() -> None:
    properties = TextToSpeech.input_type.model_json_schema()["properties"]
    assert properties["lang"]["enum"] == list(LANGUAGES)


def test_many_at_a_time() -> None:
    """The library knows no threads; ours speak through it one after the other, each in its own language."""
    expected = {lang: speak(TEXTS[lang], lang).seconds for lang in LANGUAGES}
    with ThreadPoolExecutor(8) as pool:
        langs = list(LANGUAGES) * 6
        spoken = list(pool.map(lambda lang: speak(TEXTS[lang], lang).seconds, langs))
    for lang, seconds in zip(langs, spoken, strict=True):
        assert seconds == pytest.approx(expected[lang], rel=0.02)


def test_clauses_and_the_marks_that_end_them() -> None:
    clauses = open_espeak().phonemes('Hello, world! It costs 3.14 dollars; "why?" Well… yes', "en-us")
    assert [clause.end for clause in clauses] == [",", "!", ";", "?", ".", "."]
    assert clauses[0] == Clause("həlˈoʊ", ",")
    assert open_espeak().phonemes("...", "en-us") == []


def test_without_the_library_the_service_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: None)
    with pytest.raises(ModelMissing, match=r'pip install "sensorium\[speech\]"'):
        open_espeak.__wrapped__()


def test_memory_is_bounded() -> None:
    """The text that takes longest to say, in a process of its own: its peak in megabytes."""
    code = """if True:
        import json
        from tests.services.helpers import answer, given, loaded, peak_megabytes
        from shared.errors import InputTooLarge
        from workers.services.text_to_speech import TextToSpeech
        service, outcomes = loaded(TextToSpeech), []
        for text in ("€9 " * 1666, "word " * 1000):
            try:
                value = given(TextToSpeech, text=text, lang="en-US", engine="espeak")
                outcomes.append(len(answer(service, value)["sound"]) > 1e6)
            except InputTooLarge:
                outcomes.append("too large")
        print(json.dumps([outcomes, peak_megabytes()]))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outcomes, megabytes = json.loads(done.stdout.splitlines()[-1])
    assert outcomes == ["too large", True]
    assert megabytes < 500  # a quarter of it the dictionaries of the English voice
