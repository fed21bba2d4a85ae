"""Words of a sentence in one spelling, and the word error rate between what was said and what was heard."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

#: How signs are read, by language.
_SIGNS = {
    "en": {"%": "percent", "€": "euros", "$": "dollars", "&": "and"},
    "de": {"%": "prozent", "€": "euro", "$": "dollar", "&": "und"},
    "es": {"%": "por ciento", "€": "euros", "$": "dólares", "&": "y"},
    "fr": {"%": "pour cent", "€": "euros", "$": "dollars", "&": "et"},
    "it": {"%": "per cento", "€": "euro", "$": "dollari", "&": "e"},
}
_THOUSANDS = {"en": r",", "de": r"[. ]", "es": r"[. ]", "fr": r"[. \u00a0\u202f]", "it": r"[. ]"}
_ORDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b")
_LARGEST = 10**12


def words(sentence: str, language: str) -> list[str]:
    """Lower case, digits as words, without punctuation; ``language`` is its two letters."""
    text = unicodedata.normalize("NFC", sentence).lower()
    text = re.sub(rf"(?<=\d){_THOUSANDS[language]}(?=\d{{3}}(?!\d))", "", text)
    if language == "en":
        text = _ORDINAL.sub(lambda found: f" {_in_words(int(found[1]), 'en', to='ordinal')} ", text)
        text = re.sub(r"\b([ap])\.m\b\.?", r"\1m", text)
    for sign, name in _SIGNS[language].items():
        text = text.replace(sign, f" {name} ")
    text = re.sub(r"\d+", lambda found: _number(found[0], language), text)
    text = re.sub(r"[^\w\s]|_", " ", text)
    return text.split()


def _number(digits: str, language: str) -> str:
    value = int(digits)
    if value >= _LARGEST:
        return " ".join(_in_words(int(digit), language) for digit in digits)
    return f" {_in_words(value, language)} "


def _in_words(number: int, language: str, to: str = "cardinal") -> str:
    from num2words import num2words  # of the recogniser's environment

    return str(num2words(number, lang=language, to=to))


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Words that have to be put in, left out or replaced: the edit distance."""
    row = list(range(len(heard) + 1))
    for place, word in enumerate(said, 1):
        before, row[0] = row[0], place
        for column, other in enumerate(heard, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (word != other))
    return row[-1]


def nearest(spellings: Sequence[str], heard: str, language: str) -> tuple[int, int]:
    """(errors, words) of the spelling that comes nearest to what was heard."""
    listened = words(heard, language)
    found = [(errors(said, listened), len(said)) for said in (words(spelling, language) for spelling in spellings)]
    return min(found, key=lambda pair: (pair[0] / max(pair[1], 1), -pair[1]))
