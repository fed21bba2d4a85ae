"""German, Spanish, French and Italian as they are read: what eSpeak NG does not read by itself is written out.

It reads whole numbers, decimals and times; it does not know most abbreviations and units, dates in digits, amounts of money with
cents, and German ordinals.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_Found = re.Match[str]
_Rule = tuple[re.Pattern[str], Callable[[_Found], str]]

_AMOUNT = r"\d{1,3}(?:[. ]\d{3}){1,5}(?!\d)(?:,\d{1,9})?|\d{1,15}(?:,\d{1,9})?"


@dataclass(frozen=True, slots=True)
class Language:
    """What is particular to one.

    ``months`` January first; ``date`` and ``first`` of a day, month and year, the latter where the first day has a name of its own;
    ``units`` and ``money`` one and several of it; ``cents`` what stands between a unit of money and its hundredths;
    ``ordinals`` from the first on, where eSpeak NG has to be told them.
    """

    months: Sequence[str]
    date: str
    first: str
    cents: str
    units: Mapping[str, Sequence[str]]
    money: Mapping[str, Sequence[str]]
    abbreviations: Mapping[str, str]
    ordinals: Sequence[str] = ()


def _sorted(table: Mapping[str, object]) -> str:
    return "|".join(re.escape(key) for key in sorted(table, key=len, reverse=True))


LANGUAGES = ("de", "es", "fr", "it")


def _german(language: Language) -> Iterator[_Rule]:
    """Ordinals, which are written as a number and a full stop, and years before 2000."""
    months = "|".join(language.months)
    before = "[Aa]m|[Vv]om|[Ii]m|[Zz]um|[Bb]eim|[Dd]e[nmrs]|[Dd]ie|[Dd]as|[Bb]is|[Zz]ur|[Ii]n der"

    def ordinal(found: _Found) -> str:
        number, lead = int(found["number"]), found["before"] or ""
        if not 1 <= number <= len(language.ordinals):
            return found[0]
        ending = {"": "er", "der": "e", "die": "e", "das": "e"}.get(lead.strip().lower(), "en")
        return f"{lead}{language.ordinals[number - 1]}{ending} "

    def time(found: _Found) -> str:
        minute = int(found["minute"])
        return f"{int(found['hour'])} Uhr" + (f" {minute}" if minute else "")

    def year(found: _Found) -> str:
        rest = int(found["rest"])
        return f"{found['before']}{found['hundreds']}hundert" + (f" {rest}" if rest else "")

    yield re.compile(r"\b(?P<hour>\d{1,2}):(?P<minute>\d\d) Uhr\b"), time
    yield re.compile(rf"(?P<before>\b(?:{before}) )?\b(?P<number>\d{{1,2}})\. (?=(?(before)[A-ZÄÖÜ]|(?:{months})))"), ordinal
    yield re.compile(rf"(?P<before>\b(?:{months}|Jahre?|[Ss]eit) )(?P<hundreds>1[1-9])(?P<rest>\d\d)\b(?![.,]\d)"), year


def _french(language: Language) -> Iterator[_Rule]:
    """Times and ordinals."""

    def time(found: _Found) -> str:
        hour, minute = int(found["hour"]), int(found["minute"] or 0)
        return f"{hour} heure{'' if hour < 2 else 's'}" + (f" {minute}" if minute else "")

    def ordinal(found: _Found) -> str:
        number = int(found["number"])
        return language.ordinals[number - 1] if 1 <= number <= len(language.ordinals) else found[0]

    yield re.compile(r"\b(?P<hour>\d{1,2}) ?[hH:] ?(?P<minute>\d\d)?(?!\d)\b"), time
    yield re.compile(r"\b(?P<number>\d{1,2})(?:e|ème|eme)\b"), ordinal


def _none(_: Language) -> Iterator[_Rule]:
    return iter(())


_MORE: Mapping[str, Callable[[Language], Iterator[_Rule]]] = {"de": _german, "fr": _french}


def spell(text: str, language: str) -> str:
    """``language``: ``de``, ``es``, ``fr`` or ``it``; any other text is returned as it is."""
    if language not in LANGUAGES:
        return text
    for pattern, function in _rules(language):
        text = pattern.sub(function, text)
    return text


@cache
def _rules(code: str) -> tuple[_Rule, ...]:
    """In the order in which they are applied."""
    language = Language(**tomllib.loads(Path(__file__).with_name(f"{code}.toml").read_text(encoding="utf-8")))
    money, units, abbreviations = _sorted(language.money), _sorted(language.units), _sorted(language.abbreviations)

    def date(found: _Found) -> str:
        day, month, year = int(found["day"]), int(found["month"]), found["year"]
        if not (1 <= day <= 31 and 1 <= month <= 12):
            return found[0]
        full = year if len(year) == 4 else ("19" if int(year) > 50 else "20") + year
        return language.date.format(day=language.first if day == 1 else day, month=language.months[month - 1], year=full)

    def cash(found: _Found) -> str:
        whole, _, cents = found["amount"].partition(",")
        one, many = language.money[found["sign"]]
        name = one if whole == "1" else many
        if len(cents) == 2:
            return f"{whole} {name}" + (f"{language.cents}{int(cents)}" if int(cents) else "")
        return f"{found['amount']} {name}"

    def measure(found: _Found) -> str:
        return f"{found['amount']} {language.units[found['unit']][0 if found['amount'] == '1' else 1]}"

    def abbreviation(found: _Found) -> str:
        short, rest = found[1], found.string[found.end() : found.end() + 3].strip()
        return language.abbreviations[short] + ("." if short.endswith(".") and not rest else "")

    return (
        (re.compile("[\u00a0\u202f]"), lambda _: " "),
        (re.compile(r"\b(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)\b"), date),
        (re.compile(r"\b(?P<day>\d{1,2})[./](?P<month>\d{1,2})[./](?P<year>\d{4}|\d\d)\b"), date),
        (re.compile(rf"(?<![\w,.])(?P<amount>{_AMOUNT}) ?(?P<sign>{money})(?!\w)"), cash),
        (re.compile(rf"(?<!\w)(?P<sign>{money}) ?(?P<amount>{_AMOUNT})(?![\w])"), cash),
        (re.compile(rf"(?<![\w,.])(?P<amount>{_AMOUNT}) ?(?P<unit>{units})(?![\w/])"), measure),
        (re.compile(rf"(?<![\w.-])({abbreviations})(?!\w)"), abbreviation),
        *_MORE.get(code, _none)(language),
    )
