"""English as it is read: times, dates, amounts, units, abbreviations and numbers written out.

Which forms there are follows hibari's normaliser (Apache-2.0, Maureese Williams); the rules are our own. After `spell` a text has
no digit left, so that what turns words into phonemes need not know any.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

from workers.lib.reading.numbers import cardinal, decimal, digits, ordinal, year

_Found = re.Match[str]

_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
#: Full names of the months and short ones, each with the full one.
_MONTH: dict[str, str] = _TABLES["months"]
MONTHS = tuple(dict.fromkeys(_MONTH.values()))
_TITLES: dict[str, str] = _TABLES["titles"]
_ABBREVIATIONS: dict[str, str] = _TABLES["abbreviations"]
_UNITS: dict[str, list[str]] = _TABLES["units"]
_MONEY: dict[str, list[str]] = _TABLES["money"]
_BIG: dict[str, str] = _TABLES["large"]
_SIGNS: dict[str, str] = _TABLES["signs"]
_FRACTIONS: dict[str, str] = _TABLES["fractions"]
_ROMAN: dict[str, str] = _TABLES["roman"]
#: "5 s" is five seconds, "5s" may be anything: these need a blank or a decimal before them.
_ALWAYS_APART = frozenset("shtWV")

_MONTHS = "|".join(sorted(_MONTH, key=len, reverse=True))
_NUMBER = r"\d{1,3}(?:,\d{3}){1,6}(?!\d)(?:\.\d{1,15})?|\d+(?:\.\d{1,15})?"
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))


def _read(number: str) -> str:
    """Digits with or without commas and one point."""
    whole, _, fraction = number.replace(",", "").partition(".")
    return decimal(whole, fraction) if fraction else cardinal(whole)


def _is_one(number: str) -> bool:
    return number in {"1", "1.0"}


def _time(found: _Found) -> str:
    hour, minute, half = found["hour"], found["minute"], found["half"]
    if int(hour) > 24 or int(minute) > 59:
        return found[0]
    words = [cardinal(hour)]
    if minute == "00":
        words += [] if half else ["o'clock"]
    else:
        words.append(f"oh {cardinal(minute)}" if minute[0] == "0" else cardinal(minute))
    return " ".join((*words, *([_half(half)] if half else []))) + _stop(found)


def _half(letter: str) -> str:
    return f"{letter.upper()}M"


def _hour(found: _Found) -> str:
    return f"{cardinal(found['hour'])} {_half(found['half'])}{_stop(found)}" if int(found["hour"]) <= 12 else found[0]


def _stop(found: _Found) -> str:
    """The full stop of an abbreviation that is also that of its sentence."""
    rest = found.string[found.end() : found.end() + 3].lstrip()
    return "." if found[0].endswith(".") and (not rest or rest[0].isupper()) else ""


def _date(year_text: str | None, month: int, day: str) -> str:
    if not (1 <= month <= 12 and 1 <= int(day) <= 31):
        return ""
    return f"{MONTHS[month - 1]} {ordinal(day)}" + (f", {year(year_text)}" if year_text else "")


def _iso_date(found: _Found) -> str:
    return _date(found["year"], int(found["month"]), found["day"]) or found[0]


def _slashed_date(found: _Found, day_first: bool) -> str:
    first, second, written = found["first"], found["second"], found["year"]
    full = written if len(written) == 4 else ("19" if int(written) > 50 else "20") + written
    month, day = (second, first) if day_first or int(first) > 12 else (first, second)
    return _date(full, int(month), day) or _date(full, int(day), month) or found[0]


def _month_day(found: _Found) -> str:
    if not 1 <= int(found["day"]) <= 31:
        return found[0]
    return f"{_MONTH[found['month']]} {ordinal(found['day'])}" + (f", {year(found['year'])}" if found["year"] else "")


def _day_month(found: _Found) -> str:
    if not 1 <= int(found["day"]) <= 31:
        return found[0]
    return f"the {ordinal(found['day'])} of {_MONTH[found['month']]}" + (f" {year(found['year'])}" if found["year"] else "")


def _money(found: _Found) -> str:
    one, many, hundredth, hundredths = _MONEY[found["sign"]]
    amount, big = found["amount"].replace(",", ""), found["big"]
    if big:
        return f"{_read(amount)} {_BIG.get(big, big)} {many}"
    whole, _, small = amount.partition(".")
    if len(small) != 2 or not hundredth:
        return f"{_read(amount)} {one if _is_one(amount) else many}"
    words = [f"{cardinal(whole)} {one if whole == '1' else many}"] if int(whole) or not int(small) else []
    if int(small):
        words.append(f"{cardinal(small)} {hundredth if small == '01' else hundredths}")
    return " and ".join(words)


def _measure(found: _Found) -> str:
    amount, unit = found["amount"], found["unit"]
    if unit in _ALWAYS_APART and not found["gap"] and "." not in amount:
        return found[0]
    return f"{'minus ' if found['minus'] else ''}{_read(amount)} {_UNITS[unit][0 if _is_one(amount) else 1]}"


def _fraction(found: _Found) -> str:
    above, below = found["above"], found["below"]
    name = _FRACTIONS.get(below)
    if name is None or int(above) >= int(below) or not int(above):
        return f"{cardinal(above)} slash {cardinal(below)}"
    if int(above) == 1:
        return f"one {name}"
    return f"{cardinal(above)} {'halves' if name == 'half' else name + 's'}"


def _number(found: _Found) -> str:
    sign = "minus " if found["minus"] else ""
    text, plural = found["number"], found["plural"] or ""
    if found["ordinal"]:
        return sign + ordinal(text.replace(",", ""))
    if "," not in text and "." not in text:
        if len(text) == 4 and text[0] in "12" and not sign:
            words = year(text)
        elif text[0] == "0" and len(text) > 1:
            words = digits(text)
        else:
            words = cardinal(text)
    else:
        words = _read(text)
    if plural:
        words = words[:-1] + "ies" if words.endswith("y") else words + ("es" if words.endswith("x") else "s")
    return sign + words


def _telephone(found: _Found) -> str:
    return ", ".join(digits(part).replace(",", "") for part in found[0].split("-"))


def _abbreviation(found: _Found) -> str:
    short = found[1]
    return _ABBREVIATIONS[short] + _stop(found)


def _link(found: _Found) -> str:
    return found[0].replace("://", " ").replace("www.", "w w w dot ").replace(".", " dot ").replace("/", " slash ").replace("-", " dash ")


_Rule = tuple[re.Pattern[str], Callable[[_Found], str]]


def _rules(british: bool) -> tuple[_Rule, ...]:
    """In the order in which they are applied: each sees what those before it left."""
    abbreviations = "|".join(re.escape(short) for short in sorted(_ABBREVIATIONS, key=len, reverse=True))
    signs = "|".join(re.escape(sign) for sign in _MONEY)
    year_after = r"(?:,? (?P<year>[12]\d{3})\b)?"
    return tuple(
        (re.compile(pattern), function)
        for pattern, function in (
            (r"\b(?:https?://|www\.)[^\s,;]{1,200}[^\s,;.!?)]|\b[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,4}", _link),
            (r"\b(?P<hour>\d{1,2}):(?P<minute>\d\d)(?: ?(?P<half>[AaPp])\.?[Mm]\b\.?(?=\s|$|[,;:!?)]))?(?!\d|:\d)", _time),
            (r"\b(?P<hour>\d{1,2}) ?(?P<half>[AaPp])\.?[Mm]\b\.?(?=\s|$|[,;:!?)])", _hour),
            (r"\b(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)\b", _iso_date),
            (r"\b(?P<first>\d{1,2})/(?P<second>\d{1,2})/(?P<year>\d{4}|\d\d)\b", partial(_slashed_date, day_first=british)),
            (rf"(?P<sign>{signs}) ?(?P<amount>{_NUMBER})(?: ?(?P<big>hundred|thousand|million|billion|trillion|bn\b|[kKmMbB]\b))?", _money),
            (rf"\b(?P<month>{_MONTHS})\.? (?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?![:%]|\.\d){year_after}", _month_day),
            (rf"\b(?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{_MONTHS})\b\.?{year_after}", _day_month),
            (r"(?<![\w.-])(?:\d{3}-)?\d{3}-\d{4}(?![\w-])", _telephone),
            (r"(?<![\w.])\d{1,4}(?:\.\d{1,4}){2,8}(?![\w])", lambda found: found[0].replace(".", " dot ")),
            (r"(?<=\d)(?: – |[–-])(?=\d)", lambda _: " to "),
            (rf"(?P<minus>(?<!\w)[-−])?(?<![\w.])(?P<amount>{_NUMBER})(?P<gap> ?)(?P<unit>{_UNIT})(?![\w/])", _measure),
            (r"(?P<before>\b[A-Z][a-z]{1,30})?(?(before) |\b)(?P<title>" + "|".join(_TITLES) + r")\.? (?=[A-Z])", _title_or_street),
            (rf"(?<![\w.])({abbreviations})(?!\w)", _abbreviation),
            (r"\bNos?\. ?(?=\d)", lambda _: "number "),
            (r"#(?=\d)", lambda _: "number "),
            (r"(?<=[a-z] )(?:" + "|".join(sorted(_ROMAN, key=len, reverse=True)) + r")\b(?!['.]\w)", lambda found: _ROMAN[found[0]]),
            (r"(?<![\w./])(?P<above>\d{1,2})/(?P<below>\d{1,2})(?![\w/])", _fraction),
            (rf"(?P<minus>(?<!\w)[-−])?(?P<number>{_NUMBER})(?:(?P<ordinal>st|nd|rd|th)\b|(?P<plural>'?s)\b)?", _number_apart),
            ("[" + re.escape("".join(_SIGNS)) + "]", lambda found: _SIGNS[found[0]]),
        )
    )


def _title_or_street(found: _Found) -> str:
    before, title = found["before"], found["title"]
    if before is None:
        return f"{_TITLES[title]} "
    return f"{before} Street. " if title == "St" else f"{before} {_TITLES[title]} "


def _number_apart(found: _Found) -> str:
    """A number in a word ("A4", "3D") is a word of its own."""
    text, start, end = found.string, found.start(), found.end()
    before = " " if start and text[start - 1].isalpha() else ""
    after = " " if end < len(text) and text[end].isalpha() else ""
    return f"{before}{_number(found)}{after}"


_RULES = {british: _rules(british) for british in (False, True)}


def _named(character: str) -> str:
    """A picture sign (😀) by its name."""
    if character < "\u2100" or unicodedata.category(character) != "So":
        return character
    return f" {unicodedata.name(character, '').lower()} "


_SPACES = re.compile(r"[^\S\n]+")
_BEFORE_MARK = re.compile(r" +(?=[,.;:!?])")


def spell(text: str, british: bool = False) -> str:
    """The text in words. ``british``: ``3/4/2024`` is a day in April."""
    for pattern, function in _RULES[british]:
        text = pattern.sub(function, text)
    text = "".join(_named(character) for character in text)
    return _BEFORE_MARK.sub("", _SPACES.sub(" ", text)).strip()
