from __future__ import annotations

import argparse
import base64
import zlib
from pathlib import Path

import numpy as np
import pytest

from models import commands
from models.manifest import Manifest, ManifestError, load_manifest, parse_manifest
from shared.errors import InputTooLarge, ModelCorrupt
from tests.services.helpers import answer
from tests.services.piper_voice import BLOCK, NUMBERS, RATE, network, published, settings
from workers.contract import Files, MediaLimits
from workers.espeak import Clause, open_espeak
from workers.inference.onnx import OnnxModels
from workers.lib.audio import Waveform, decode_wav
from workers.models import piper
from workers.services.text_to_speech import LANGUAGES, TextToSpeech


def pull(*words: str, into: Path, mirror: Path, manifest: Manifest) -> int:
    """`sensorium models pull …`"""
    parser = argparse.ArgumentParser()
    commands.add_arguments(parser)
    return commands.run(parser.parse_args(["pull", "--quiet", *words]), commands.Place(into, str(mirror), manifest, dict))


def service(folder: Path, manifest: Manifest) -> TextToSpeech:
    instance = TextToSpeech(manifest)
    instance.load(OnnxModels(folder, manifest=manifest))
    return instance


def spoken(instance: TextToSpeech, text: str, lang: str = "de-DE", **limits: float) -> tuple[str, Waveform]:
    """(voice, speech)"""
    files = Files({}, MediaLimits(**limits))  # type: ignore[arg-type]
    result = answer(instance, TextToSpeech.input_type.model_validate({"text": text, "lang": lang}, context=files.context()))
    return result["voice"], decode_wav(zlib.decompress(base64.b64decode(result["sound"])), max_seconds=600)


def test_a_voice_is_used_as_soon_as_it_is_pulled(tmp_path: Path) -> None:
    """Also by a service that has been running for a while, and for its own language only."""
    manifest = published(tmp_path / "mirror")
    running = service(tmp_path / "models", manifest)
    assert spoken(running, "Hallo.")[0] == "espeak-ng/de"
    assert pull("--voices", "de-DE", into=tmp_path / "models", mirror=tmp_path / "mirror", manifest=manifest) == 0
    voice, speech = spoken(running, "Hallo.")
    assert (voice, speech.rate) == ("tiny", RATE)
    assert spoken(running, "Hello.", "en-US")[0] == "espeak-ng/en-us"
    assert spoken(service(tmp_path / "models", manifest), "Hallo.")[0] == "tiny"


@pytest.mark.parametrize("speakers", [1, 3])
def test_the_speech_by_value(tmp_path: Path, speakers: int) -> None:
    """Samples against what the voice is made to say, worked out by hand from the phonemes."""
    manifest = published(tmp_path / "mirror", speakers=speakers)
    pull("--voices", "all", into=tmp_path, mirror=tmp_path / "mirror", manifest=manifest)
    _, speech = spoken(service(tmp_path, manifest), "Hallo. Anna?")
    first, second = open_espeak().phonemes("Hallo. Anna?", "de")
    expected, gain = [], 4.0
    for clause, mark in ((first, "."), (second, "?")):
        numbers = [NUMBERS["^"][0], NUMBERS["_"][0]]
        for phoneme in clause.phonemes + mark:
            numbers += [NUMBERS[phoneme][0], NUMBERS["_"][0]]
        tones = [number * 1.5 * BLOCK for number in [*numbers, NUMBERS["$"][0]]]
        gain = min(gain, 0.9 / np.abs(tones).max())
        expected += [gain * np.concatenate(tones), np.zeros(RATE // 5)]
    assert speech.samples[:, 0] == pytest.approx(np.concatenate(expected), abs=1e-4)


def test_numbers_of_phonemes() -> None:
    """Decomposed: the nasal is a letter and a tilde; what the voice does not know is left out."""
    voice = piper.VoiceSettings(RATE, "fr", {"^": (1,), "$": (2,), "_": (0,), "ɑ": (7,), "\u0303": (8, 9)}, (0.6, 1.0, 0.8), 1)
    assert piper.encode("ɑ\u0303x", voice).tolist() == [1, 0, 7, 0, 8, 9, 0, 2]
    assert piper.encode("\u00e3", voice).tolist() == [1, 0, 8, 9, 0, 2]


def test_sentences_and_runs() -> None:
    clauses = [Clause("a", ","), Clause("b", "."), Clause("c", "?"), Clause("d", ";")]
    assert list(piper.sentences(clauses)) == ["a, b.", "c?", "d;"]
    long = [Clause("abc " * 300 + "x" * 1000, ".")]
    runs = list(piper.sentences(long))
    assert max(map(len, runs)) <= piper.MOST_PHONEMES
    assert "".join(runs).replace(" ", "") == "abc" * 300 + "x" * 1000 + "."


def test_a_long_speech_is_refused_with_the_limit(tmp_path: Path) -> None:
    manifest = published(tmp_path / "mirror")
    pull("--voices", "de-DE", into=tmp_path, mirror=tmp_path / "mirror", manifest=manifest)
    with pytest.raises(InputTooLarge, match="5 s"):
        spoken(service(tmp_path, manifest), "Hallo. " * 50, speech_seconds=5)


def test_silence_is_not_made_loud(tmp_path: Path) -> None:
    manifest = published(tmp_path / "mirror", inference={"length_scale": 0.0})
    pull("--voices", "de-DE", into=tmp_path, mirror=tmp_path / "mirror", manifest=manifest)
    _, speech = spoken(service(tmp_path, manifest), "Hallo.")
    assert speech.frames > 1000
    assert not speech.samples.any()


def test_a_damaged_voice_is_said(tmp_path: Path) -> None:
    manifest = published(tmp_path / "mirror")
    pull("--voices", "de-DE", into=tmp_path, mirror=tmp_path / "mirror", manifest=manifest)
    path = tmp_path / "voices" / "tiny.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelCorrupt, match="sensorium models pull tiny"):
        service(tmp_path, manifest)
    assert pull("tiny", into=tmp_path, mirror=tmp_path / "mirror", manifest=manifest) == 0
    assert spoken(service(tmp_path, manifest), "Hallo.")[0] == "tiny"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        settings(audio={}),
        settings(phoneme_type="text"),
        settings(phoneme_id_map={"a": [1]}),
        settings(phoneme_id_map={"^": ["x"]}),
        settings(inference={"noise_scale": []}),
    ],
    ids=range(9),
)
def test_settings_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ModelCorrupt, match=r"x\.json"):
        piper.read_settings(tmp_path / "x.json")


def test_what_is_pulled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = published(tmp_path / "mirror")
    assert pull("--voices", "nl-NL", into=tmp_path, mirror=tmp_path / "mirror", manifest=manifest) == 2
    assert "there are some for de-DE" in capsys.readouterr().err
    (tmp_path / "mirror" / "tiny.onnx").write_bytes(network(2))
    assert pull("--voices", "de-DE", into=tmp_path, mirror=tmp_path / "mirror", manifest=manifest) == 1
    assert "sensorium models pull tiny" in capsys.readouterr().err


def test_the_voices_of_the_manifest() -> None:
    """Piper's: one for each language at least; each can be had, says whose terms hold, and is no model that `pull` brings unasked."""
    manifest = load_manifest()
    piper_voices = [voice for voice in manifest.voices if voice.engine == "piper"]
    assert {voice.language for voice in piper_voices} == set(LANGUAGES)
    models = {model.name for model in (*manifest.models, *manifest.default_voice_files())}
    for voice in piper_voices:
        assert voice.name.startswith(voice.language.replace("-", "_"))
        assert voice.card.endswith("/MODEL_CARD")
        assert voice.network.licence
        assert voice.network.licence_note
        for file in voice.files:
            assert file.name not in models
            assert len(file.artefact.digest) == 32
            assert file.artefact.urls[0].startswith("https://")
            assert file.artefact.urls[0].endswith(file.artefact.base_name)


def test_the_default_voices() -> None:
    """The first voice of each language can be had from package registries alone, under a licence that allows any use."""
    manifest = load_manifest()
    default = manifest.default_voice_files()
    names = {file.name for file in default}
    for language in LANGUAGES:
        first = manifest.voices_of(language)[0]
        assert first.default
        assert first.engine in ("hibari", "kokoro")
        assert {file.name for file in first.files} <= names
    for file in default:
        assert file.in_registries
        assert file.licence == "Apache-2.0"
        assert file.optional
    assert set(TextToSpeech.models) == names
    assert names <= {model.name for model in manifest.select(())}


@pytest.mark.parametrize(("old", "new"), [('md5 = "', 'md5 = "zz'), ("language", "tongue"), ("card", "cart"), ("size", "weight")])
def test_a_voice_that_contradicts_itself_is_named(tmp_path: Path, old: str, new: str) -> None:
    published(tmp_path)
    text = 'schema = 1\n[[voice]]\nname = "v"\nlanguage = "de-DE"\nlicence = "x"\ncard = "c"\n'
    for part in ("network", "config"):
        text += f'[voice.{part}]\nfile = "voices/v.{part}"\nsize = 1\nmd5 = "{"0" * 32}"\nurls = []\n'
    assert len(parse_manifest(text).voices) == 1
    with pytest.raises(ManifestError, match=r"^v: "):
        parse_manifest(text.replace(old, new))
