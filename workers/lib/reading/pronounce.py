"""An English sentence as phonemes, in the alphabet of misaki that Kokoro and hibari were trained with."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workers.lib.reading.lexicon import CONSONANTS, VOWELS, Following, Lexicon
from workers.lib.reading.tagger import Tagger

_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*'?|\.{3}|[.,:;!?…—()\"“”]|\s+|-")
_CASES = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_HEADING = 4  # words
_PAUSES = frozenset(".,:;!?…—")


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    blank: bool  # whether there is one before it

    @property
    def is_word(self) -> bool:
        return self.text[0].isalpha()


class Pronouncer:
    """``unknown`` turns a word that is in no dictionary into phonemes; ``""`` where it cannot either."""

    def __init__(self, lexicon: Lexicon, tagger: Tagger, unknown: Callable[[str], str]) -> None:
        self._lexicon, self._tagger, self._unknown = lexicon, tagger, unknown

    def phonemes(self, sentence: str) -> str:
        """``sentence``: without digits. Punctuation stays where it was. A heading in capitals is no row of abbreviations."""
        if sentence.isupper() and len(sentence.split()) >= _HEADING:
            sentence = sentence.lower()
        tokens = _tokens(sentence)
        tags = self._tagger.tag([token.text for token in tokens])
        following, found = Following(), []
        for token, tag in zip(reversed(tokens), reversed(tags), strict=True):
            said = self._word(token.text, tag, following) if token.is_word else token.text
            found.append(f" {said}" if token.blank and said else said)
            following = _following(said, token.text, following)
        return "".join(reversed(found)).replace("ɾ", "T").replace("ʔ", "t").strip()

    def _word(self, word: str, tag: str, following: Following) -> str:
        found = self._lexicon.phonemes(word, tag, following)
        if found is not None:
            return found
        parts = _CASES.split(word)
        if len(parts) > 1:
            return " ".join(self._word(part, tag, following) for part in parts)
        return self._unknown(word)


def _tokens(sentence: str) -> list[_Token]:
    """Words, and the punctuation that is heard. A hyphen is a blank; a dash is a pause."""
    text = unicodedata.normalize("NFKC", sentence.replace("’", "'").replace("‘", "'").replace("…", "..."))
    text = re.sub(r"\s[-–]\s|\s?[–―]\s?|--+", " — ", text)
    tokens, blank, quoted = [], False, False
    for found in _TOKEN.findall(text):
        if found.isspace() or found == "-":
            blank = True
            continue
        mark = "…" if found == "..." else found
        if found == '"':
            mark, quoted = "”" if quoted else "“", not quoted
        tokens.append(_Token(mark, blank))
        blank = False
    return tokens


def _following(said: str, text: str, before: Following) -> Following:
    """What the word to the left of this one sees."""
    vowel = before.vowel
    for phoneme in said:
        if phoneme in _PAUSES:
            vowel = None
            break
        if phoneme in VOWELS or phoneme in CONSONANTS:
            vowel = phoneme in VOWELS
            break
    return Following(vowel, text in ("to", "To"))


def of_pieces(word: str, longest: int, piece: Callable[[str], str]) -> str:
    """A word that is longer than ``longest`` letters, in pieces of that length."""
    parts: Sequence[str] = [word[start : start + longest] for start in range(0, len(word), longest)]
    return " ".join(filter(None, (piece(part) for part in parts)))
