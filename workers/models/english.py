"""English text to phonemes for hibari and Kokoro: the dictionaries and networks of the manifest, and what they cannot read by eSpeak NG.

The network for unknown words: input ``chars`` int64 [1, n], numbers of letters from 1 on; output float or int64 [1, k], numbers of
phonemes in the manner of CTC (0 is none, repetitions count once).
"""

from __future__ import annotations

import gzip
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from shared.errors import ModelCorrupt
from workers.contract import Models, Network
from workers.espeak import Espeak
from workers.lib.reading.lexicon import Lexicon
from workers.lib.reading.pronounce import Pronouncer, of_pieces
from workers.lib.reading.tagger import Tagger
from workers.models import kokoro

TAGGER = "english-tagger"
_ACCENTS = {False: "us", True: "gb"}
_ESPEAK = {False: "en-us", True: "en"}


@dataclass(frozen=True, slots=True)
class UnknownWords:
    """``letters`` and ``phonemes`` by their numbers; ``longest``: letters that the network takes at a time."""

    network: Network
    letters: Mapping[str, int]
    phonemes: Mapping[int, str]
    longest: int

    def reads(self, word: str) -> bool:
        return self.letters.keys() >= set(word)

    def read(self, word: str) -> str:
        """The phonemes of a word whose letters it knows all."""
        return of_pieces(word, self.longest, self._piece)

    def _piece(self, word: str) -> str:
        (found,) = self.network.run({"chars": np.array([[self.letters[letter] for letter in word]], np.int64)}).values()
        numbers = found.reshape(-1).astype(int).tolist()
        changed = [number for number, before in zip(numbers, [0, *numbers[:-1]], strict=True) if number and number != before]
        return "".join(self.phonemes[number] for number in changed)


def open_english(models: Models, british: bool, espeak: Espeak | None) -> Pronouncer:
    """Raises `ModelMissing` or `ModelCorrupt`. ``espeak`` reads words in other scripts; without it they are left out."""
    name = f"english-{_ACCENTS[british]}"
    lexicon = Lexicon(_table(models.path(f"{name}-gold")), _table(models.path(f"{name}-silver")), british)
    table = _table(models.path(f"{name}-unknown-letters"))
    try:
        tagger = Tagger.of(_table(models.path(TAGGER)))
        words = UnknownWords(
            models.open(f"{name}-unknown"),
            {letter: number for number, letter in enumerate(table["in"], 1)},
            dict(enumerate(table["out"], 1)),
            int(table["maxlen"]),
        )
    except (KeyError, TypeError) as error:
        raise ModelCorrupt(f"the tables of English are not those that are needed: {error!r}") from error

    def unknown(word: str) -> str:
        plain = unicodedata.normalize("NFKD", word)
        for spelling in (word, "".join(letter for letter in plain if not unicodedata.combining(letter))):
            if words.reads(spelling):
                return words.read(spelling)
        return "" if espeak is None else kokoro.from_espeak(espeak.phonemes(word, _ESPEAK[british], tied=True)).rstrip(".")

    return Pronouncer(lexicon, tagger, unknown)


def _table(path: Path) -> dict[str, Any]:
    """A JSON object, compressed or not. Raises `ModelCorrupt`."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        table = orjson.loads(content)
        if not isinstance(table, dict):
            raise ValueError("it is no object")
    except (OSError, EOFError, ValueError) as error:
        raise ModelCorrupt(f"{path} is not a table: {error}") from error
    return table
