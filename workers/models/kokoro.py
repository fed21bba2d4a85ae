"""Kokoro-82M: speech from phonemes in the style of a voice, in several languages.

Inputs ``tokens`` int64 [1, n], the numbers of the phonemes between two zeros, at most 512; ``style`` float32 [1, 256]; ``speed``
float32 [1], durations are divided by it. Output ``audio`` float32 [k], mono samples in -1..1 at 24 kHz.

A voice is float32 [510, 1, 256], little-endian: the style for each number of phonemes. The phonemes are misaki's ; those of eSpeak NG become them by `from_espeak`, which follows misaki's class EspeakG2P (Apache-2.0, hexgrad).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.errors import ModelCorrupt
from workers.contract import Network
from workers.espeak import Clause

Samples = npt.NDArray[np.float32]

RATE = 24_000  # Hz
#: Phonemes that the network takes in one run.
MOST_PHONEMES = 510
_STYLES = (510, 1, 256)

#: Phonemes that eSpeak NG writes with several letters, a tie between them, and Kokoro with one.
_TIED = {
    "a^ɪ": "I", "a^ʊ": "W", "d^z": "ʣ", "d^ʒ": "ʤ", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "s^s": "S", "t^s": "ʦ", "t^ʃ": "ʧ", "ɔ^ɪ": "Y",
}  # fmt: skip
#: German phonemes that no voice was trained with, as the nearest that one was.
_GERMAN = {"ɔø": "Y", "aɪ": "I", "aʊ": "W", "ts": "ʦ", "tʃ": "ʧ", "dʒ": "ʤ", "ʏ": "y", "ɜ": "ɐ", "ɾ": "ʁ", "r": "ʁ"}

#: The r of German after a vowel and before none is spoken as one (Ort, vor, Nachbarn); eSpeak NG writes it as a consonant.
_VOCALISED = re.compile(r"(?<=[aeiouyøœɐəɛɪɔʊʏɑː])[ɾr](?![ˈˌ]?[aeiouyøœɐəɛɪɔʊʏɑɜ])")


def read_styles(path: Path) -> Samples:
    """float32 [510, 256]. Raises `ModelCorrupt`."""
    styles = np.fromfile(path, "<f4")
    if styles.size != np.prod(_STYLES):
        raise ModelCorrupt(f"{path} is not a voice of Kokoro")
    return styles.reshape(_STYLES[0], _STYLES[2]).astype(np.float32)


def from_espeak(clauses: Sequence[Clause], *, german: bool = False) -> str:
    """Phonemes of clauses that were asked for with ties, each with the mark that ends it."""
    text = " ".join(f"{clause.phonemes}{clause.end}" for clause in clauses)
    for tied, one in _TIED.items():
        text = text.replace(tied, one)
    text = text.replace("^", "").replace("-", "")
    text = _VOCALISED.sub("ɐ", text) if german else text
    for theirs, ours in _GERMAN.items() if german else ():
        text = text.replace(theirs, ours)
    return text


def speak(network: Network, phonemes: str, numbers: Mapping[str, int], styles: Samples, speed: float) -> Samples:
    """float32 [k], mono, at `RATE`. Phonemes that have no number are left out."""
    tokens = [numbers[phoneme] for phoneme in phonemes if phoneme in numbers][:MOST_PHONEMES]
    if not tokens:
        return np.zeros(0, np.float32)
    found = network.run(
        {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": styles[len(tokens) - 1][None],
            "speed": np.array([speed], np.float32),
        }
    )
    return found["audio"].reshape(-1).astype(np.float32)
