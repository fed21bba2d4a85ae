"""Spans of time of the data API: instants as clients write them, and buckets of hours and days."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

from shared.errors import InvalidParameter

Size = Literal["by_hour", "by_day", "global"]
SIZES: tuple[Size, ...] = ("by_hour", "by_day", "global")
#: Buckets of one page.
PAGE = 100

_HOUR_MS = 3_600_000
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

    A day of a change of clocks has 23 or 25 hours. However long the span, only the page's buckets are looked at. Raises
    `InvalidParameter` for a page that there is not.
    """
    first, last = milliseconds(begin), milliseconds(end)
    if size == "global":
        return _checked(Page([begin.isoformat()], [first, last], 1, 1), page)
    if first >= last:
        return _checked(Page([], [first], 0, 1), page)
    if size == "by_hour":
        offset = begin.astimezone(where).utcoffset() or timedelta(0)
        shift = offset // timedelta(milliseconds=1) % _HOUR_MS
        floor = (first + shift) // _HOUR_MS * _HOUR_MS - shift
        total = -(-(last - floor) // _HOUR_MS)
        starts = [floor + n * _HOUR_MS for n in _numbers(total, page)]
    else:
        day = begin.astimezone(where).date()
        total = ((end - timedelta(milliseconds=1)).astimezone(where).date() - day).days + 1
        midnights = (datetime.combine(day + timedelta(days=n), datetime.min.time(), where) for n in _numbers(total, page))
        starts = [milliseconds(midnight) for midnight in midnights]
    keys = [datetime.fromtimestamp(start / 1000, where).isoformat() for start in starts[:-1]]
    edges = [min(max(start, first), last) for start in starts]
    return _checked(Page(keys, edges, total, -(-total // PAGE)), page)


def _numbers(total: int, page: int) -> range:
    """The numbers of the page's buckets, and of the one after them."""
    return range(min((page - 1) * PAGE, total), min(page * PAGE, total) + 1)


def _checked(found: Page, page: int) -> Page:
    if not 1 <= page <= found.pages:
        raise InvalidParameter(f"page: must be between 1 and {found.pages}", parameter="page")
    return found
