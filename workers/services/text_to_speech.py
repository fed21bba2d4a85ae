"""Speech: a text, read aloud."""

from __future__ import annotations

import base64
import io
import wave
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, PrivateAttr, ValidationInfo, model_validator

from models.manifest import Manifest, Voice, load_manifest
from shared.errors import InputTooLarge, InvalidParameter, ModelMissing, PerceptionError, UnreadableInput
from workers.contract import Item, MediaLimits, Models, Output
from workers.espeak import Espeak, open_espeak
from workers.lib.reading import is_speakable, pieces, spell
from workers.lib.resample import Resampler
from workers.streaming import Emit, StreamedInput, StreamingService

if TYPE_CHECKING:
    from workers.models.speakers import Speaker, Speakers

#: The languages, and the voice of eSpeak NG for each.
LANGUAGES = {"en-US": "en-us", "en-GB": "en", "de-DE": "de", "es-ES": "es", "fr-FR": "fr", "it-IT": "it"}
#: Samples a second of eSpeak NG's speech.
_ESPEAK_RATE = 22_050
_ESPEAK_LICENCE = "GPL-3.0-or-later"
_PAUSE = 0.2  # seconds between the sentences of a neural voice
_BREATH = 0.08  # seconds between the runs of one sentence
_LOUDEST = 0.9  # of full scale: the peak of a neural voice, whose level is not its own
_MOST_GAIN = 4.0  # a first word may be a quiet one
_ESPEAK_RUN = 400  # characters
_LIMITS = MediaLimits()

Engine = Literal["neural", "espeak"]


def _limits(context: Any) -> MediaLimits:
    files = context.get("files") if isinstance(context, dict) else None
    return _LIMITS if files is None else files.limits


def _speakable(text: str, info: ValidationInfo) -> str:
    limits = _limits(info.context)
    if len(text) > limits.text_characters:
        raise InputTooLarge(f"the text has {len(text)} characters; at most {limits.text_characters} are allowed", parameter="text")
    if not is_speakable(text):
        raise ValueError("there is nothing to say in it: no letter, no digit and no sign that is read as a word")
    return text


def _spoken(lang: str) -> str:
    if lang not in LANGUAGES:
        raise UnreadableInput(f"the language {lang[:40]!r} is not spoken here; one of {', '.join(LANGUAGES)} is needed", parameter="lang")
    return lang


def _known(voice: str | None, info: ValidationInfo) -> str | None:
    lang = info.data.get("lang")
    names = _voice_names(lang) if lang in LANGUAGES else []
    if voice is None or not names or voice in names:
        return voice
    raise _no_voice(voice, f" for {lang}", names)


def _no_voice(voice: str, where: str, names: Sequence[str]) -> UnreadableInput:
    return UnreadableInput(f"there is no voice {voice[:40]!r}{where}; there are {', '.join(names)}", parameter="voice")


def _voice_names(lang: str) -> list[str]:
    return [*(voice.name for voice in load_manifest().voices_of(lang)), espeak_voice(lang)]


def espeak_voice(lang: str) -> str:
    """What eSpeak NG's voice for a language is called here."""
    return f"espeak-ng/{LANGUAGES[lang]}"


class TextToSpeechInput(StreamedInput):
    """Raises `InputTooLarge` for a longer text than the limits allow, `UnreadableInput` for another language or an unknown voice."""

    text: Annotated[str, AfterValidator(_speakable)] = Field(
        min_length=1, description="What is read, as it stands: markup is read too. At most 5,000 characters, unless set otherwise."
    )
    lang: Annotated[str, AfterValidator(_spoken)] = Field(
        description="The language in which it is read. May be left out where a voice is named: then it is the voice's.",
        json_schema_extra={"enum": list(LANGUAGES)},
    )
    voice: Annotated[str | None, AfterValidator(_known)] = Field(
        None, description="Whose voice, one of the language's; the service's document lists them. By default the first that is installed."
    )
    engine: Engine | None = Field(
        None, description="`neural` for a voice that sounds human, `espeak` for a faster one. By default neural where a voice is installed."
    )
    rate: int | None = Field(
        None, ge=8000, le=48_000, strict=True, description="Samples a second (Hz) of the answer. By default the voice's own."
    )
    speed: float = Field(1.0, ge=0.25, le=4, allow_inf_nan=False, description="2 is twice as fast. eSpeak NG goes from about 0.46 to 2.57.")

    _limits: MediaLimits = PrivateAttr(_LIMITS)

    @model_validator(mode="before")
    @classmethod
    def _language_of_the_voice(cls, given: Any) -> Any:
        """Raises `UnreadableInput` for a voice that no language has."""
        if not isinstance(given, dict) or "lang" in given or not isinstance(given.get("voice"), str):
            return given
        voice = given["voice"]
        for lang in LANGUAGES:
            if voice in _voice_names(lang):
                return {**given, "lang": lang}
        raise _no_voice(voice, "", [name for lang in LANGUAGES for name in _voice_names(lang)])

    def model_post_init(self, context: Any, /) -> None:
        self._limits = _limits(context)

    @property
    def limits(self) -> MediaLimits:
        return self._limits


class TextToSpeechOutput(Output):
    sound: str = Field(description="A WAV file (PCM 16 bit, mono), compressed with zlib, in base64.")
    voice: str = Field(description="Whose voice it is: `espeak-ng/…`, or the name of a neural voice.")


class _Reader(Protocol):
    """Reads a text in one voice. ``rate``: of its samples, in Hz."""

    name: str
    rate: int

    def read(self, sentences: Sequence[str], value: TextToSpeechInput) -> Iterator[bytes]:
        """PCM, 16 bit, mono, in pieces. May raise `InputTooLarge`."""


@dataclass(slots=True)
class _EspeakReader:
    name: str
    rate: int
    espeak: Espeak

    def read(self, sentences: Sequence[str], value: TextToSpeechInput) -> Iterator[bytes]:
        for sentence in sentences:
            for run in pieces.cut(sentence, _ESPEAK_RUN):
                yield self.espeak.speak(run, LANGUAGES[value.lang], value.limits.speech_seconds, value.speed)


@dataclass(slots=True)
class _NeuralReader:
    """The gain is chosen for the first run, and lowered for a later one that would be too loud: speech that is sent while it is made
    sounds as the same speech sent whole."""

    name: str
    rate: int
    speaker: Speaker

    def read(self, sentences: Sequence[str], value: TextToSpeechInput) -> Iterator[bytes]:
        gain = 0.0
        for number, sentence in enumerate(sentences):
            runs = list(self.speaker.runs(sentence, number == 0))
            for place, run in enumerate(runs, 1):
                samples = self.speaker.speak(run, value.speed)
                peak = max(float(np.abs(samples).max(initial=0)), 1e-3)  # silence is not made loud
                gain = min(gain or _MOST_GAIN, _LOUDEST / peak)
                pause = _PAUSE if place == len(runs) else _BREATH
                yield _pcm(samples * gain) + bytes(2 * round(pause / value.speed * self.rate))


class TextToSpeech(StreamingService[TextToSpeechInput, TextToSpeechOutput]):
    """Reads a text aloud, in English (US and GB), German, Spanish, French or Italian.

    Spoken by a neural voice where one is installed for the language, else by eSpeak NG; `voice` and `engine` choose. Numbers, dates,
    times, amounts and abbreviations are read as words; markup has no meaning, control characters are pauses. The answer's `sound` is
    a WAV file, compressed with zlib, in base64; `voice` names the voice. With `stream`, sentence by sentence while it is being made.
    """

    name = "text_to_speech"
    input_type = TextToSpeechInput
    output_type = TextToSpeechOutput
    models = tuple(file.name for file in load_manifest().default_voice_files())  # each of them optional

    _espeak: Espeak | None
    _speakers: Speakers

    def __init__(self, manifest: Manifest | None = None) -> None:
        """``manifest``: where the neural voices are listed; by default the one of this installation."""
        self._manifest = manifest or load_manifest()
        self._installed: set[str] = set()

    def load(self, models: Models) -> None:
        """Raises `ModelMissing` with neither eSpeak NG nor a voice, `ModelCorrupt` for a voice that is not the file in the manifest."""
        from workers.models.speakers import Speakers  # scipy is for workers, not for gateways

        missing: ModelMissing | None = None
        try:
            self._espeak = open_espeak()
        except ModelMissing as error:
            self._espeak, missing = None, error
        self._speakers = Speakers(models, self._espeak)
        for voice in self._manifest.voices:
            if self._is_installed(voice) and voice.engine != "kokoro":  # large: opened when one of its voices first speaks
                self._speakers.open(voice)
        if missing is not None and not self._installed:
            raise missing

    def process_streamed(self, item: Item[TextToSpeechInput], emit: Emit) -> TextToSpeechOutput | PerceptionError:
        value = item.input
        try:
            reader = self._reader(value)
            samples = self._spoken(value, reader, emit)
        except PerceptionError as error:
            return error
        sound = packed(samples, value.rate or reader.rate, smaller=not value.stream)
        return TextToSpeechOutput(sound=sound, voice=reader.name)

    @classmethod
    def example(cls) -> TextToSpeechInput:
        return TextToSpeechInput.model_validate({"text": "Hi guys, how are you today?", "lang": "en-US"})

    def announced(self) -> Mapping[str, Any]:
        return {"voices": [*sorted(self._installed), *(map(espeak_voice, LANGUAGES) if self._espeak is not None else ())]}

    @classmethod
    def details(cls, announced: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        installed = {name for one in announced for name in one.get("voices", ())}
        found = []
        for lang in LANGUAGES:
            for voice in load_manifest().voices_of(lang):
                found.append(_described(voice.name, lang, "neural", voice.licence, voice.rate))
            found.append(_described(espeak_voice(lang), lang, "espeak", _ESPEAK_LICENCE, _ESPEAK_RATE))
        return {"voices": [{**voice, "installed": voice["name"] in installed} for voice in found]}

    def _spoken(self, value: TextToSpeechInput, reader: _Reader, emit: Emit) -> bytes:
        """PCM, 16 bit, mono. Raises `InputTooLarge`, `InvalidParameter` when nothing was said, and what ``emit`` raises."""
        sentences = pieces.sentences(spell(pieces.loosen(value.text), value.lang))
        rate = value.rate or reader.rate
        most, said, spoken = round(value.limits.speech_seconds * rate), 0, []
        for read in reader.read(sentences, value):
            if not read:
                continue
            piece = resampled(read, reader.rate, rate)
            said += len(piece) // 2
            if said > most:
                raise InputTooLarge(f"the speech of this text lasts longer than {value.limits.speech_seconds:g} s", parameter="text")
            spoken.append(piece)
            if value.stream:
                emit({"sound": packed(piece, rate, smaller=False), "rate": rate, "voice": reader.name})
            else:
                emit({})
        if not spoken:
            raise InvalidParameter(f"text: there is nothing in it that {reader.name} can say", parameter="text")
        return b"".join(spoken)

    def _reader(self, value: TextToSpeechInput) -> _Reader:
        """Raises `ModelMissing` for a voice that is not installed, `UnreadableInput` for one that another engine speaks with."""
        plain = value.voice is not None and value.voice == espeak_voice(value.lang)
        engine = value.engine or ("espeak" if plain else None)
        if value.voice is not None and plain != (engine == "espeak"):
            raise UnreadableInput(f"the voice {value.voice} is not one of the engine {engine}", parameter="voice")
        if engine != "espeak":
            for voice in self._manifest.voices_of(value.lang):
                if value.voice in (None, voice.name) and self._is_installed(voice):
                    speaker = self._speakers.open(voice)
                    return _NeuralReader(voice.name, speaker.rate, speaker)
            if engine == "neural" or value.voice is not None:
                wanted = value.voice or f"--voices {value.lang}"
                raise ModelMissing(f"no such voice is installed; run: sensorium models pull {wanted}")
        if self._espeak is None:
            self._espeak = open_espeak()
        return _EspeakReader(espeak_voice(value.lang), self._espeak.rate, self._espeak)

    def _is_installed(self, voice: Voice) -> bool:
        """Looked for again as long as it is not, since it may be pulled at any time."""
        if voice.name not in self._installed and self._speakers.is_installed(voice):
            self._installed.add(voice.name)
        return voice.name in self._installed


def _described(name: str, language: str, engine: Engine, licence: str, rate: int) -> dict[str, Any]:
    return {"name": name, "language": language, "engine": engine, "licence": licence, "sample_rate": rate}


def _pcm(samples: npt.NDArray[np.float32]) -> bytes:
    """float32 in -1..1 as 16 bit, little-endian."""
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def resampled(samples: bytes, rate: int, target: int) -> bytes:
    """PCM, 16 bit, mono, at another rate. A piece begins and ends in silence, so that it may stand alone."""
    if rate == target:
        return samples
    return _pcm(Resampler(rate, target).whole(np.frombuffer(samples, "<i2").astype(np.float32) / np.float32(32767)))


def packed(samples: bytes, rate: int, *, smaller: bool) -> str:
    """PCM, 16 bit, mono, as a WAV file in zlib's format, in base64.

    ``smaller``: compressed, by a sixth, in a tenth of the time that hibari takes to speak. Only runs of equal bytes
    are looked for: that finds as much in speech as zlib's fastest level, and takes a third of its time.
    Else the bytes are stored as they are, for pieces, which are soon unpacked again, and for what was sent in pieces.
    """
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples)
    deflate = zlib.compressobj(1 if smaller else 0, strategy=zlib.Z_RLE)
    return base64.b64encode(deflate.compress(file.getbuffer()) + deflate.flush()).decode()
