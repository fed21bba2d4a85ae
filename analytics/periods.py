"""Spans of time of the data API: instants as clients write them, and buckets of hours and days."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

from analytics.clocks import clock, parts_of_hour
from shared.errors import InvalidParameter

Size = Literal["by_hour", "by_day", "global"]
SIZES: tuple[Size, ...] = ("by_hour", "by_day", "global")
#: Buckets of one page.
PAGE = 100

_HOUR_MS = 3_600_000
_MILLISECOND = timedelta(milliseconds=1)
_YEARS = (1970, 2200)
_LOST_PLUS = re.compile(r"^(.*T.*) (\d{2}:?\d{2})$")


def instant(text: str, name: str) -> datetime:
    """An instant in ISO 8601, UTC unless it says otherwise. A plus sign that was not encoded arrives as a space, and is read as one.

    Raises `InvalidParameter` that names ``name``.
    """
    text = _LOST_PLUS.sub(r"\1+\2", text.strip())
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidParameter(f"{name}: must be a date as in ISO 8601, such as 2017-09-03T05:45:00+0200", parameter=name) from None
    if not _YEARS[0] < found.year < _YEARS[1]:
        raise InvalidParameter(f"{name}: must be of a year between {_YEARS[0] + 1} and {_YEARS[1] - 1}", parameter=name)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def zone(name: str) -> tzinfo:
    """The time zone of this name in the IANA database. Raises `InvalidParameter`."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError
        raise InvalidParameter("timezone: must be a name of the IANA database, such as Europe/Paris", parameter="timezone") from None


@dataclass(frozen=True, slots=True)
class Page:
    """The buckets of one page. ``edges``: milliseconds since 1970, one more than ``keys``, which are the buckets' beginnings in ISO 8601.

    ``total`` buckets in all, on ``pages`` pages.
    """

    keys: Sequence[str]
    edges: Sequence[int]
    total: int
    pages: int


def buckets(begin: datetime, end: datetime, size: Size, where: tzinfo, page: int) -> Page:
    """The buckets of [begin, end) on this page (from 1): whole hours or days of the time zone ``where``, the first and the last cut.

    A day of a change of clocks has 23 or 25 hours, and a day that a zone left out is not there. Where a clock changes by half an hour, an
    hour begins with the change, so that all others are whole ones of the new time. However long the span, only the page's buckets
    are looked at. Raises `InvalidParameter` for a page that there is not.
    """
    first, last = milliseconds(begin), milliseconds(end)
    if size == "global":
        return _checked(Page([begin.isoformat()], [first, last], 1, 1), page)
    if first >= last:
        return _checked(Page([], [first], 0, 1), page)
    total, starts = (_hours if size == "by_hour" else _days)(begin, end, where, page)
    keys = [datetime.fromtimestamp(start / 1000, where).isoformat() for start in starts[:-1]]
    edges = [min(max(start, first), last) for start in starts]
    return _checked(Page(keys, edges, total, -(-total // PAGE)), page)


def _hours(begin: datetime, end: datetime, where: tzinfo, page: int) -> tuple[int, list[int]]:
    """How many hours there are, and the beginnings of the page's and of the one after them, in milliseconds.

    Between two changes of the minutes by which the zone differs from UTC, hours follow each other evenly.
    """
    changes = clock(where).changes
    stretches, total = [], 0
    for since, until in pairwise((None, *changes, None)):
        start, stop = begin if since is None else max(begin, since), end if until is None else min(end, until)
        if start >= stop:
            continue
        shift = parts_of_hour(start, where) // _MILLISECOND
        floor = (milliseconds(start) + shift) // _HOUR_MS * _HOUR_MS - shift
        count = -(-(milliseconds(stop) - floor) // _HOUR_MS)
        stretches.append((total, count, floor, 0 if since is None else milliseconds(since)))
        total += count
    numbers = _numbers(total, page)
    starts = [
        max(floor + (number - before) * _HOUR_MS, least)
        for before, count, floor, least in stretches
        for number in range(max(before, numbers.start), min(before + count, numbers.stop))
    ]
    return total, starts if numbers.stop <= total else [*starts, milliseconds(end)]


def _days(begin: datetime, end: datetime, where: tzinfo, page: int) -> tuple[int, list[int]]:
    """The same of days."""
    day, past = begin.astimezone(where).date(), (end - _MILLISECOND).astimezone(where).date()
    skipped = [missing for missing in clock(where).skipped if day <= missing <= past]
    total = (past - day).days + 1 - len(skipped)
    starts = []
    for number in _numbers(total, page):
        here = day + timedelta(days=number)
        for missing in skipped:
            here += timedelta(days=missing <= here)
        starts.append(milliseconds(datetime.combine(here, datetime.min.time(), where)))
    return total, starts


def _numbers(total: int, page: int) -> range:
    """The numbers of the page's buckets, and of the one after them."""
    return range(min((page - 1) * PAGE, total), min(page * PAGE, total) + 1)


def _checked(found: Page, page: int) -> Page:
    if not 1 <= page <= found.pages:
        raise InvalidParameter(f"page: must be between 1 and {found.pages}", parameter="page")
    return found
