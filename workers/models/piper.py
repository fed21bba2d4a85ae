"""Piper voices: speech from phonemes by a VITS network, one file of settings beside each network.

Inputs ``input`` int64 [1, n], the numbers of the phonemes; ``input_lengths`` int64 [1], n; ``scales`` float32 [3]: how much
the voice varies, how slow it is, how much the lengths of the phonemes vary; ``sid`` int64 [1], the speaker, only where a
voice has several. Output: float32 [1, 1, 1, k] or [1, 1, k], mono samples in about -1..1 at the rate of the settings.

The phonemes are those of eSpeak NG in IPA, one code point each after canonical decomposition, between a beginning and an
end, and each followed by a pad.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import ModelCorrupt
from workers.contract import Network
from workers.espeak import Clause

Samples = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

_BEGIN, _END, _PAD = "^", "$", "_"
_SENTENCE = ".!?"
#: Phonemes that are spoken in one run: memory grows with their square. A sentence of 400 takes half a minute.
MOST_PHONEMES = 400


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """The file beside the network: ``rate`` in Hz, ``espeak`` the voice whose phonemes it knows, ``numbers`` of each phoneme,
    ``scales`` as the network takes them, ``speakers`` how many there are."""

    rate: int
    espeak: str
    numbers: Mapping[str, tuple[int, ...]]
    scales: tuple[float, float, float]
    speakers: int


def read_settings(path: Path) -> VoiceSettings:
    """Raises `ModelCorrupt`."""
    try:
        table: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if table.get("phoneme_type", "espeak") != "espeak":
            raise ValueError("its phonemes are not those of eSpeak NG")
        inference = table.get("inference", {})
        numbers = {str(phoneme): tuple(int(number) for number in found) for phoneme, found in table["phoneme_id_map"].items()}
        if not all(numbers.get(mark) for mark in (_BEGIN, _END, _PAD)):
            raise ValueError("marks are missing among its phonemes")
        return VoiceSettings(
            rate=int(table["audio"]["sample_rate"]),
            espeak=str(table["espeak"]["voice"]),
            numbers=numbers,
            scales=(
                float(inference.get("noise_scale", 0.667)),
                float(inference.get("length_scale", 1.0)),
                float(inference.get("noise_w", 0.8)),
            ),
            speakers=int(table.get("num_speakers", 1)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelCorrupt(f"{path} are not the settings of a Piper voice: {error}") from error


def sentences(clauses: Sequence[Clause]) -> Iterator[str]:
    """Phonemes of what is spoken in one run: up to the end of a sentence, or to a space where that is too far."""
    waiting = ""
    for clause in clauses:
        waiting += clause.phonemes + clause.end
        if clause.end in _SENTENCE:
            yield from _runs(waiting)
            waiting = ""
        else:
            waiting += " "
    yield from _runs(waiting.rstrip())


def _runs(phonemes: str) -> Iterator[str]:
    while len(phonemes) > MOST_PHONEMES:
        cut = phonemes.rfind(" ", 1, MOST_PHONEMES)
        cut = cut if cut > 0 else MOST_PHONEMES
        yield phonemes[:cut]
        phonemes = phonemes[cut:].lstrip()
    if phonemes:
        yield phonemes


def encode(phonemes: str, settings: VoiceSettings) -> Numbers:
    """int64 [n]. Phonemes that the voice does not know are left out."""
    pad = settings.numbers[_PAD]
    found = [*settings.numbers[_BEGIN], *pad]
    for phoneme in unicodedata.normalize("NFD", phonemes):
        if phoneme in settings.numbers:
            found += [*settings.numbers[phoneme], *pad]
    return np.array([*found, *settings.numbers[_END]], np.int64)


def speak(network: Network, phonemes: str, settings: VoiceSettings, speed: float = 1.0) -> Samples:
    """float32 [k], mono, at the rate of the settings. ``speed``: 2 is twice as fast."""
    numbers = encode(phonemes, settings)
    variation, slowness, lengths = settings.scales
    feeds: dict[str, npt.NDArray[Any]] = {
        "input": numbers[None],
        "input_lengths": np.array([len(numbers)], np.int64),
        "scales": np.array([variation, slowness / speed, lengths], np.float32),
    }
    if settings.speakers > 1:
        feeds["sid"] = np.zeros(1, np.int64)
    (samples,) = network.run(feeds).values()
    return samples.reshape(-1).astype(np.float32)
