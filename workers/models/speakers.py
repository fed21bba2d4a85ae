"""The neural voices of the manifest, opened: each turns a text into runs of phonemes, and a run into sound."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.manifest import Voice
from shared.errors import ModelCorrupt, ModelMissing
from workers.contract import Models, Network
from workers.espeak import COMMAND as ESPEAK_COMMAND
from workers.espeak import Espeak
from workers.lib.reading import pieces
from workers.models import hibari, kokoro, piper
from workers.models.english import open_english

Samples = npt.NDArray[np.float32]

#: The voices of eSpeak NG whose phonemes Kokoro's voices are given, by language.
_ESPEAK = {"fr-FR": "fr", "es-ES": "es", "it-IT": "it", "de-DE": "de"}
#: Phonemes of one run: few in the first, so that its sound is there soon; no more than sound well together in the others.
_FIRST, _HIBARI_RUN, _KOKORO_RUN = 100, 400, 200
_SILENT = 0.003  # of full scale: what is quieter before and after the speech is cut away
_KEPT = 0.05  # seconds of it that stay


class Speaker(Protocol):
    """``rate``: of its samples, in Hz. What it is asked for at once is one sentence."""

    @property
    def rate(self) -> int: ...

    def runs(self, sentence: str, first: bool) -> Iterator[str]:
        """Phonemes that are spoken in one run, in order. ``first``: nothing was said before, somebody waits."""

    def speak(self, phonemes: str, speed: float) -> Samples:
        """float32 [k], mono, in about -1..1. ``speed``: 2 is twice as fast."""


@dataclass(frozen=True, slots=True)
class HibariSpeaker:
    """One network is one voice. ``numbers`` of its phonemes, ``phonemes`` of a sentence."""

    network: Network
    numbers: Mapping[str, int]
    phonemes: Callable[[str], str]
    rate: int = hibari.RATE

    def runs(self, sentence: str, first: bool) -> Iterator[str]:
        return pieces.cut(self.phonemes(sentence), _HIBARI_RUN, _FIRST if first else None)

    def speak(self, phonemes: str, speed: float) -> Samples:
        return trimmed(hibari.speak(self.network, phonemes, self.numbers, speed), self.rate)


@dataclass(frozen=True, slots=True)
class KokoroSpeaker:
    """A voice is a table of ``styles`` beside the network that all share."""

    network: Network
    numbers: Mapping[str, int]
    styles: Samples
    phonemes: Callable[[str], str]
    rate: int = kokoro.RATE

    def runs(self, sentence: str, first: bool) -> Iterator[str]:
        known = "".join(phoneme for phoneme in self.phonemes(sentence) if phoneme in self.numbers)
        return pieces.cut(known, _KOKORO_RUN, _FIRST if first else None)

    def speak(self, phonemes: str, speed: float) -> Samples:
        return trimmed(kokoro.speak(self.network, phonemes, self.numbers, self.styles, speed), self.rate)


@dataclass(frozen=True, slots=True)
class PiperSpeaker:
    """One network is one voice, read by eSpeak NG."""

    network: Network
    settings: piper.VoiceSettings
    espeak: Espeak

    @property
    def rate(self) -> int:
        return self.settings.rate

    def runs(self, sentence: str, first: bool) -> Iterator[str]:
        return piper.sentences(self.espeak.phonemes(sentence, self.settings.espeak))

    def speak(self, phonemes: str, speed: float) -> Samples:
        return piper.speak(self.network, phonemes, self.settings, speed)


class Speakers:
    """Opens each voice once, and what several of them share once."""

    def __init__(self, models: Models, espeak: Espeak | None) -> None:
        """``espeak``: None where there is none; then only voices that read by themselves can be had."""
        self._models, self._espeak = models, espeak
        self._english: dict[bool, Callable[[str], str]] = {}
        self._opened: dict[str, Speaker] = {}
        self._opening = threading.Lock()

    def is_installed(self, voice: Voice) -> bool:
        """Whether all files of the voice are there, and what reads for it."""
        if not all(self._models.has(file.name) for file in voice.files):
            return False
        return self._espeak is not None or (voice.engine != "piper" and voice.language.startswith("en-"))

    def numbers(self) -> Mapping[str, int]:
        """Of Kokoro's phonemes. Raises like `open`."""
        return _numbers(self._models.path("kokoro-phonemes"))

    def open(self, voice: Voice) -> Speaker:
        """Raises `ModelMissing` or `ModelCorrupt`, naming the command that helps."""
        with self._opening:
            if voice.name not in self._opened:
                self._opened[voice.name] = self._open(voice)
            return self._opened[voice.name]

    def _open(self, voice: Voice) -> Speaker:
        network = self._models.open(voice.network.name)
        config = self._models.path(voice.config.name)
        match voice.engine:
            case "piper":
                return PiperSpeaker(network, piper.read_settings(config), self._reader(voice))
            case "hibari":
                return HibariSpeaker(network, _numbers(config), self._phonemes(voice))
            case "kokoro":
                return KokoroSpeaker(network, self.numbers(), kokoro.read_styles(config), self._phonemes(voice))
        raise ModelCorrupt(f"the voice {voice.name} is spoken by {voice.engine}, which is not known here")

    def _phonemes(self, voice: Voice) -> Callable[[str], str]:
        """From a sentence to the phonemes of hibari and Kokoro."""
        if not voice.language.startswith("en-"):
            espeak, name, german = self._reader(voice), _ESPEAK[voice.language], voice.language == "de-DE"
            return lambda sentence: kokoro.from_espeak(espeak.phonemes(sentence, name, tied=True), german=german)
        british = voice.language == "en-GB"
        if british not in self._english:
            self._english[british] = open_english(self._models, british, self._espeak).phonemes
        return self._english[british]

    def _reader(self, voice: Voice) -> Espeak:
        if self._espeak is None:
            raise ModelMissing(f"the voice {voice.name} needs eSpeak NG to read; {ESPEAK_COMMAND}")
        return self._espeak


def _numbers(path: Path) -> Mapping[str, int]:
    """The number of each phoneme. Raises `ModelCorrupt`."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return {str(phoneme): int(number) for phoneme, number in table.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelCorrupt(f"{path} is not a table of phonemes: {error}") from error


def trimmed(samples: Samples, rate: int) -> Samples:
    """Without the silence before and after, but for a little of each."""
    loud = np.flatnonzero(np.abs(samples) > _SILENT)
    kept = round(_KEPT * rate)
    return samples[max(0, loud[0] - kept) : loud[-1] + 1 + kept] if loud.size else samples[:0]
