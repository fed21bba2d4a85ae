"""English words as phonemes: a dictionary, the endings -s, -ed and -ing, and where the stress goes.

The rules are those of misaki's English lexicon (Apache-2.0, hexgrad), with which the voices were trained; what they say about
digits is left out, since a text has none any more when it comes here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PRIMARY, SECONDARY = "ˈ", "ˌ"
VOWELS = frozenset("AIOQWYaiuæɑɒɔəɛɜɪʊʌᵻ")
CONSONANTS = frozenset("bdfhjklmnpstvwzðŋɡɹɾʃʒʤʧθ")
_US_TAPPED = frozenset("AIOWYiuæɑəɛɪɹʊʌ")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'-")
_DOUBLED = re.compile(r"([bcdgklmnprstvxz])\1ing$|cking$")
_STRONG, _WEAK = 2.0, 0.5  # stress of words in capitals, of words with one

Entry = str | Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Following:
    """What comes after a word: whether it begins with a vowel (None: a pause or the end), whether it is "to"."""

    vowel: bool | None = None
    to: bool = False


def restress(phonemes: str, stress: float | None) -> str:
    """``stress``: below -1 none at all; -1 and -0.5 weaker; 0 and 0.5 a secondary one where there is none; 1 and 2 a stronger one."""
    marked = PRIMARY in phonemes or SECONDARY in phonemes
    if stress is None:
        return phonemes
    if stress < -1:
        return phonemes.replace(PRIMARY, "").replace(SECONDARY, "")
    if stress == -1 or (stress in (0, -0.5) and PRIMARY in phonemes):
        return phonemes.replace(SECONDARY, "").replace(PRIMARY, SECONDARY)
    if not marked and stress >= 0:
        return _before_vowel((PRIMARY if stress > 1 else SECONDARY), phonemes)
    if stress >= 1 and PRIMARY not in phonemes:
        return phonemes.replace(SECONDARY, PRIMARY)
    return phonemes


def _before_vowel(mark: str, phonemes: str) -> str:
    for place, phoneme in enumerate(phonemes):
        if phoneme in VOWELS:
            return phonemes[:place] + mark + phonemes[place:]
    return phonemes


def parent(tag: str) -> str:
    """The coarse tags that the dictionary knows."""
    for start, coarse in (("VB", "VERB"), ("NN", "NOUN"), ("RB", "ADV"), ("JJ", "ADJ")):
        if tag.startswith(start):
            return coarse
    return tag


@dataclass(frozen=True, slots=True)
class _Endings:
    """What -s, -ed and -ing sound like after a word's phonemes."""

    british: bool

    def put(self, stem: str, ending: str) -> str:
        """``ending``: "s", "ed" or "ing"."""
        return {"s": self._s, "ed": self._ed, "ing": self._ing}[ending](stem)

    def _s(self, stem: str) -> str:
        if stem[-1] in "ptkfθ":
            return stem + "s"
        if stem[-1] in "szʃʒʧʤ":
            return f"{stem}{'ɪ' if self.british else 'ᵻ'}z"
        return stem + "z"

    def _ed(self, stem: str) -> str:
        if stem[-1] in "pkfθʃsʧ":
            return stem + "t"
        if stem[-1] == "d":
            return f"{stem}{'ɪ' if self.british else 'ᵻ'}d"
        if stem[-1] != "t":
            return stem + "d"
        if self.british or len(stem) < 2:
            return stem + "ɪd"
        return stem[:-1] + "ɾᵻd" if stem[-2] in _US_TAPPED else stem + "ᵻd"

    def _ing(self, stem: str) -> str:
        if not self.british and len(stem) > 1 and stem[-1] == "t" and stem[-2] in _US_TAPPED:
            return stem[:-1] + "ɾɪŋ"
        return stem + "ɪŋ"


class Lexicon:
    """``gold`` is checked by hand, ``silver`` is not. A word with a capital answers for itself without one, and the reverse."""

    def __init__(self, gold: Mapping[str, Entry], silver: Mapping[str, Entry], british: bool) -> None:
        self._gold, self._silver, self._endings = gold, silver, _Endings(british)

    def phonemes(self, word: str, tag: str, following: Following) -> str | None:
        """None for a word that is not in it, nor made of one by an ending."""
        found = _function_word(word, tag, following, self._gold)
        if found is not None:
            return found
        stress = None if word == word.lower() else _STRONG if word == word.upper() else _WEAK
        word = self._plain(word, tag)
        if self._knows(word, tag):
            return self._look(word, tag, stress, following)
        for ending, replaced in (("s'", "'s"), ("'", "")):
            if word.endswith(ending) and self._knows(word[: -len(ending)] + replaced, tag):
                return self._look(word[: -len(ending)] + replaced, tag, stress, following)
        return self._with_ending(word, tag, stress, following)

    def spelled(self, letters: str) -> str | None:
        """Each letter by its name, the last one stressed; None where one has no name."""
        names = [_entry(self._gold, letter.upper()) for letter in letters if letter.isalpha()]
        if not names or not all(isinstance(name, str) for name in names):
            return None
        weak = restress("".join(str(name) for name in names), 0)
        return PRIMARY.join(weak.rsplit(SECONDARY, 1))

    def _has(self, word: str) -> bool:
        return _entry(self._gold, word) is not None or _entry(self._silver, word) is not None

    def _plain(self, word: str, tag: str) -> str:
        """Without capitals, where they are those of a heading or of the beginning of a sentence."""
        lower = word.lower()
        if word == lower or len(word) < 2 or not word.replace("'", "").isalpha() or self._has(word):
            return word
        if (tag == "NNP" and len(word) <= 7) or not (word == word.upper() or word[1:] == lower[1:]):
            return word
        return lower if self._has(lower) or self._with_ending(lower, tag, None, Following()) else word

    def _knows(self, word: str, tag: str) -> bool:
        if self._has(word):
            return True
        if not word.isalpha() or not _LETTERS.issuperset(word):
            return False
        if len(word) == 1 or (word == word.upper() and _entry(self._gold, word.lower()) is not None):
            return True
        return word[1:] == word[1:].upper()

    def _look(self, word: str, tag: str, stress: float | None, following: Following | None) -> str | None:
        name = False
        if word == word.upper() and _entry(self._gold, word) is None:
            word, name = word.lower(), tag == "NNP"
        found = _entry(self._gold, word)
        if found is None and not name:
            found = _entry(self._silver, word)
        if isinstance(found, Mapping):
            if following is not None and following.vowel is None and "None" in found:
                tag = "None"
            elif tag not in found:
                tag = parent(tag)
            found = found.get(tag, found.get("DEFAULT"))
        if found is None or (name and PRIMARY not in found):
            spelled = self.spelled(word)
            if spelled is not None:
                return spelled
        return None if found is None else restress(found, stress)

    def _with_ending(self, word: str, tag: str, stress: float | None, following: Following) -> str | None:
        for stem, ending in self._stems(word, tag):
            found = self._look(stem, tag, 0.5 if ending == "ing" and stress is None else stress, following)
            if found:
                return self._endings.put(found, ending)
        return None

    def _stems(self, word: str, tag: str) -> list[tuple[str, str]]:
        """Words of the dictionary that this one may be made of, each with the ending."""
        tries: list[tuple[str, str, bool]] = []
        if len(word) > 2 and word.endswith("s"):
            tries += [(word[:-1], "s", not word.endswith("ss"))]
            tries += [(word[:-2], "s", word.endswith("'s") or (len(word) > 4 and word.endswith("es") and not word.endswith("ies")))]
            tries += [(word[:-3] + "y", "s", len(word) > 4 and word.endswith("ies"))]
        if len(word) > 3 and word.endswith("d"):
            tries += [(word[:-1], "ed", not word.endswith("dd"))]
            tries += [(word[:-2], "ed", len(word) > 4 and word.endswith("ed") and not word.endswith("eed"))]
        if len(word) > 4 and word.endswith("ing"):
            tries += [(word[:-3], "ing", len(word) > 5), (word[:-3] + "e", "ing", True)]
            tries += [(word[:-4], "ing", len(word) > 5 and _DOUBLED.search(word) is not None)]
        return [(stem, ending) for stem, ending, fits in tries if fits and self._knows(stem, tag)]


def _entry(table: Mapping[str, Entry], word: str) -> Entry | None:
    found = table.get(word)
    if found is not None or len(word) < 2:
        return found
    if word == word.lower():
        return table.get(word.capitalize())
    return table.get(word.lower()) if word == word.capitalize() else None


def _function_word(word: str, tag: str, following: Following, gold: Mapping[str, Entry]) -> str | None:
    """Words whose sound depends on what they are in the sentence or on what follows."""
    lower, found, used = word.lower(), None, gold.get("used")
    if word in ("a", "A"):
        found = "ɐ" if tag == "DT" else "ˈA"
    elif word == "am":
        found = str(gold["am"]) if following.vowel is None else "ɐm"
    elif lower == "an" and not (word == "AN" and tag.startswith("NN")):
        found = "ɐn"
    elif word == "I" and tag == "PRP":
        found = "ˌI"
    elif lower == "by" and parent(tag) == "ADV":
        found = "bˈI"
    elif word in ("to", "To") or (word == "TO" and tag in ("TO", "IN")):
        found = str(gold["to"]) if following.vowel is None else "tʊ" if following.vowel else "tə"
    elif word in ("in", "In") or (word == "IN" and tag != "NNP"):
        found = f"{PRIMARY if following.vowel is None or tag != 'IN' else ''}ɪn"
    elif word in ("the", "The") or (word == "THE" and tag == "DT"):
        found = "ði" if following.vowel else "ðə"
    elif lower == "used" and isinstance(used, Mapping):
        found = used["VBD" if tag in ("VBD", "JJ") and following.to else "DEFAULT"]
    return found
