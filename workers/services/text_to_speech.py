"""Speech: a text, read aloud."""

from __future__ import annotations

import base64
import io
import threading
import wave
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field, PrivateAttr, ValidationInfo

from models.manifest import Manifest, Voice, load_manifest
from shared.errors import InputTooLarge, ModelMissing, PerceptionError, UnreadableInput
from workers.contract import Input, Item, MediaLimits, Models, Network, Output, Service
from workers.espeak import Espeak, open_espeak
from workers.models import piper

#: The languages, and the voice of eSpeak NG for each.
LANGUAGES = {"en-US": "en-us", "en-GB": "en", "de-DE": "de", "es-ES": "es", "fr-FR": "fr", "it-IT": "it"}
_PAUSE = 0.2  # seconds between the sentences of a neural voice
_LOUDEST = 0.9  # of full scale: the peak of a neural voice, whose level is not its own
_LIMITS = MediaLimits()


def _limits(context: Any) -> MediaLimits:
    files = context.get("files") if isinstance(context, dict) else None
    return _LIMITS if files is None else files.limits


def _speakable(text: str, info: ValidationInfo) -> str:
    limits = _limits(info.context)
    if len(text) > limits.text_characters:
        raise InputTooLarge(f"the text has {len(text)} characters; at most {limits.text_characters} are allowed", parameter="text")
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise ValueError("there is nothing to say in it")
    return text


def _spoken(lang: str) -> str:
    if lang not in LANGUAGES:
        raise UnreadableInput(f"the language {lang[:40]!r} is not spoken here; one of {', '.join(LANGUAGES)} is needed", parameter="lang")
    return lang


class TextToSpeechInput(Input):
    """Raises `InputTooLarge` for a longer text than the limits allow, `UnreadableInput` for another language."""

    text: Annotated[str, AfterValidator(_speakable)] = Field(
        min_length=1, description="What is read, as it stands: markup is read too. At most 5,000 characters, unless set otherwise."
    )
    lang: Annotated[str, AfterValidator(_spoken)] = Field(
        description="The language in which it is read.", json_schema_extra={"enum": list(LANGUAGES)}
    )

    _limits: MediaLimits = PrivateAttr(_LIMITS)

    def model_post_init(self, context: Any, /) -> None:
        self._limits = _limits(context)

    @property
    def limits(self) -> MediaLimits:
        return self._limits


class TextToSpeechOutput(Output):
    sound: str = Field(description="A WAV file (PCM 16 bit, mono), compressed with zlib, in base64.")
    voice: str = Field(description="Whose voice it is: `espeak-ng/…`, or the name of a neural voice.")


@dataclass(frozen=True, slots=True)
class _Neural:
    """A neural voice that is installed."""

    name: str
    network: Network
    settings: piper.VoiceSettings


class TextToSpeech(Service[TextToSpeechInput, TextToSpeechOutput]):
    """Reads a text aloud, in English (US and GB), German, Spanish, French or Italian.

    Spoken by eSpeak NG, or by a neural voice as soon as `sensorium models pull --voices LANGUAGE` has brought one for the
    language. The text is read as it stands: markup has no meaning, control characters are pauses. The answer's `sound` is
    a WAV file, compressed with zlib, in base64; `voice` names the voice.
    """

    name = "text_to_speech"
    input_type = TextToSpeechInput
    output_type = TextToSpeechOutput

    _espeak: Espeak
    _models: Models

    def __init__(self, manifest: Manifest | None = None) -> None:
        """``manifest``: where the neural voices are listed; by default the one of this installation."""
        self._manifest = manifest or load_manifest()
        self._neural: dict[str, _Neural] = {}
        self._opening = threading.Lock()

    def load(self, models: Models) -> None:
        """Raises `ModelMissing` without eSpeak NG, `ModelCorrupt` for a voice that is not the file in the manifest."""
        self._espeak = open_espeak()
        self._models = models
        for language in LANGUAGES:
            self._neural_voice(language)

    def process(self, batch: Sequence[Item[TextToSpeechInput]]) -> Sequence[TextToSpeechOutput | PerceptionError]:
        return [self._answer(item.input) for item in batch]

    @classmethod
    def example(cls) -> TextToSpeechInput:
        return TextToSpeechInput(text="Hi guys, how are you today?", lang="en-US")

    def _answer(self, value: TextToSpeechInput) -> TextToSpeechOutput | PerceptionError:
        neural = self._neural_voice(value.lang)
        try:
            if neural is None:
                name, rate = f"espeak-ng/{LANGUAGES[value.lang]}", self._espeak.rate
                samples = self._espeak.speak(value.text, LANGUAGES[value.lang], value.limits.speech_seconds)
            else:
                name, rate = neural.name, neural.settings.rate
                samples = self._speak(value, neural)
        except InputTooLarge as error:
            return error
        return TextToSpeechOutput(sound=base64.b64encode(zlib.compress(_wav(samples, rate))).decode(), voice=name)

    def _speak(self, value: TextToSpeechInput, neural: _Neural) -> bytes:
        """PCM, 16 bit, mono. Raises `InputTooLarge`."""
        rate, most = neural.settings.rate, value.limits.speech_seconds
        pieces = [np.zeros(0, np.float32)]
        for phonemes in piper.sentences(self._espeak.phonemes(value.text, neural.settings.espeak)):
            pieces += [piper.speak(neural.network, phonemes, neural.settings), np.zeros(round(_PAUSE * rate), np.float32)]
            if sum(map(len, pieces)) > most * rate:
                raise InputTooLarge(f"the speech of this text lasts longer than {most:g} s", parameter="text")
        speech = np.concatenate(pieces)
        peak = max(float(np.abs(speech).max(initial=0)), 1e-3)  # silence is not made loud
        return (speech * (_LOUDEST * 32767 / peak)).astype("<i2").tobytes()

    def _neural_voice(self, language: str) -> _Neural | None:
        """The first that is installed: looked for at each request, since it may be pulled at any time."""
        found = self._neural.get(language)
        if found is not None:
            return found
        with self._opening:
            for voice in self._manifest.voices_of(language):
                opened = self._open(voice)
                if opened is not None:
                    return self._neural.setdefault(language, opened)
        return None

    def _open(self, voice: Voice) -> _Neural | None:
        try:
            network = self._models.open(voice.network.name)
            settings = piper.read_settings(self._models.path(voice.config.name))
        except ModelMissing:
            return None
        return _Neural(voice.name, network, settings)


def _wav(samples: bytes, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples)
    return file.getvalue()
