"""A text in pieces that can be spoken: nothing lost, each short enough, the first sound soon."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

#: Signs that are read as words in every language, beside letters and decimal digits.
_READ_SIGNS = frozenset("%&+=@#§°€$£¥")
_READ = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "So"})
#: Letters and digits in a row that are read as one word or number.
_LONGEST_WORD = 60
_LONGEST_NUMBER = 15
_LONGEST_REPEAT = 7

_DIGITS = re.compile(rf"\d{{{_LONGEST_NUMBER + 1},}}")
_REPEATED = re.compile(rf"([^\W\d_])\1{{{_LONGEST_REPEAT},}}", re.IGNORECASE)
_SINGLES = re.compile(r"(?<!\w)([^\W_])(?:\s+\1(?!\w)){3,}", re.IGNORECASE)
_WORD = re.compile(rf"[^\W\d_]{{{_LONGEST_WORD + 1},}}")
_END = re.compile(r"[.!?…]+[\"'»”’)\]]*\s+(?=\S)|\n\s*\n\s*")
_OPENING = "\"'«“‘([¿¡"
_INITIAL = re.compile(r"(?:^|[\s.(])[^\W\d_]\.$")
_CLAUSE_MARKS = ",;:—)"


def is_speakable(text: str) -> bool:
    """Whether there is a letter, a decimal digit, a picture sign (😀) or another sign that is read as a word."""
    return any(character in _READ_SIGNS or unicodedata.category(character) in _READ for character in text)


def loosen(text: str) -> str:
    """Runs that no voice reads to their end are taken apart: eSpeak NG is silent after 8 s of a word, and skips repeated letters."""
    text = _DIGITS.sub(lambda found: _apart(found[0]), text)
    text = _REPEATED.sub(lambda found: f" {_apart(found[0])} ", text)
    text = _SINGLES.sub(lambda found: _apart("".join(found[0].split())), text)
    return _WORD.sub(lambda found: " ".join(_every(found[0], _LONGEST_WORD)), text)


def _apart(characters: str) -> str:
    return ", ".join(" ".join(group) for group in _every(characters, 3))


def _every(text: str, count: int) -> list[str]:
    return [text[start : start + count] for start in range(0, len(text), count)]


def sentences(text: str) -> list[str]:
    """What is spoken in one breath, in order; together they are the text. Those that say nothing are left out."""
    found, start = [], 0
    for end in _END.finditer(text):
        if _is_end(text, end):
            found.append(text[start : end.end()].strip())
            start = end.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if is_speakable(sentence)]


def _is_end(text: str, end: re.Match[str]) -> bool:
    """Not after an initial ("J. Smith"), and not before a small letter."""
    if "\n" in end[0] and not end[0].strip():
        return True
    following = text[end.end() :].lstrip(_OPENING)[:1] if text[end.end()] in _OPENING else text[end.end()]
    if following.islower():
        return False
    mark = end.start() + 1
    return not (end[0].startswith(". ") and _INITIAL.search(text[max(0, mark - 4) : mark]))


def cut(phonemes: str, most: int, first: int | None = None) -> Iterator[str]:
    """Pieces of at most ``most`` characters, the first of at most ``first``: up to a clause, to a blank where that is too far, else anywhere."""
    limit = most if first is None else first
    while len(phonemes) > limit:
        place = _place(phonemes, limit)
        yield phonemes[:place].strip()
        phonemes, limit = phonemes[place:].strip(), most
    if phonemes.strip():
        yield phonemes.strip()


def _place(phonemes: str, limit: int) -> int:
    """Where the last clause ends that fits, unless it is short; else the last word."""
    window = phonemes[: limit + 1]
    clause = max(window.rfind(f"{mark} ") for mark in _CLAUSE_MARKS + ".!?…") + 1
    if clause > limit // 4:
        return clause
    blank = window.rfind(" ")
    return blank if blank > 0 else limit
