"""English number words: cardinals, ordinals, years and decimals of digits."""

from __future__ import annotations

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion")
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth"}
#: Digits of the longest number that is read as one; longer ones are read digit by digit.
LONGEST = 3 * len(_SCALES)


def digits(text: str) -> str:
    """Each digit for itself, a pause after every third."""
    names = [_ONES[int(digit)] for digit in text]
    return ", ".join(" ".join(names[start : start + 3]) for start in range(0, len(names), 3))


def cardinal(text: str) -> str:
    """``1250`` → ``one thousand two hundred fifty``. ``text``: decimal digits only."""
    number = text.lstrip("0")
    if len(number) > LONGEST:
        return digits(text)
    if not number:
        return _ONES[0]
    padded = number.zfill(-(-len(number) // 3) * 3)
    groups = [int(padded[start : start + 3]) for start in range(0, len(padded), 3)]
    named = [f"{_below_thousand(group)} {_SCALES[len(groups) - 1 - place]}".strip() for place, group in enumerate(groups) if group]
    return " ".join(named)


def ordinal(text: str) -> str:
    """``21`` → ``twenty first``."""
    head, _, last = cardinal(text).rpartition(" ")
    word = _ORDINALS.get(last, last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return f"{head} {word}".strip()


def year(text: str) -> str:
    """Of four digits: ``2024`` → ``twenty twenty four``, ``1905`` → ``nineteen oh five``, ``2005`` → ``two thousand five``."""
    high, low = text[:2], int(text[2:])
    if high[0] == "0" or (high[1] == "0" and low < 10):
        return cardinal(text)
    rest = "hundred" if low == 0 else f"oh {_ONES[low]}" if low < 10 else cardinal(text[2:])
    return f"{cardinal(high)} {rest}"


def decimal(whole: str, fraction: str) -> str:
    """``3`` and ``14`` → ``three point one four``."""
    return f"{cardinal(whole or '0')} point {' '.join(_ONES[int(digit)] for digit in fraction)}"


def _below_thousand(number: int) -> str:
    words = []
    if number >= 100:
        words += [_ONES[number // 100], "hundred"]
        number %= 100
    if number >= 20:
        words.append(_TENS[number // 10])
        number %= 10
    if number or not words:
        words += [_ONES[number]] if number else []
    return " ".join(words)
