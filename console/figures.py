"""What a stream's dashboard shows: a span of time, its buckets and sums by the metrics of the data API, and the same of the span before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from analytics.metrics import Disclosure
from analytics.periods import Size, buckets, milliseconds, zone
from analytics.queries import Audience
from analytics.totals import Totals
from shared.errors import InvalidParameter

JsonObject = dict[str, Any]
#: Spans to choose from, in days that end today.
DAYS = (1, 7, 30, 90, 365)
#: By the hour no longer than this many days, by the day no longer than that many.
MOST_DAYS: Mapping[Size, int] = {"by_hour": 31, "by_day": 732}
_HOURS_UNTIL = 3  # days of a span that is shown by the hour unless something else is asked for
SHOWN = ("passing_by", "interested", "stop_time", "attention_time", "satisfaction", "gender", "category")


@dataclass(frozen=True, slots=True)
class Span:
    """Whole days ``first`` to ``last``, both included, of the time zone ``where``, shown by ``size``. ``days`` of `DAYS`, 0 for others."""

    first: date
    last: date
    size: Size
    where: tzinfo
    zone_name: str
    days: int

    @property
    def begin(self) -> datetime:
        return datetime.combine(self.first, datetime.min.time(), self.where)

    @property
    def end(self) -> datetime:
        return datetime.combine(self.last + timedelta(days=1), datetime.min.time(), self.where)

    @property
    def before(self) -> datetime:
        """Where the span of as many days before this one begins."""
        return datetime.combine(self.first - timedelta(days=self.length), datetime.min.time(), self.where)

    @property
    def length(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def is_open(self) -> bool:
        """Whether today is in it, so that there is still more to come."""
        return self.first <= datetime.now(self.where).date() <= self.last


def read_span(given: Mapping[str, str]) -> Span:
    """From ``days``, or ``from`` and ``to`` (dates), ``by`` (hour, day) and ``timezone``. Raises `InvalidParameter`."""
    name = given.get("timezone") or "UTC"
    where = zone(name)
    first, last, days = _dates(given, datetime.now(where).date())
    length = (last - first).days + 1
    size: Size = "by_hour" if length <= _HOURS_UNTIL else "by_day"
    if given.get("by") in ("hour", "day"):
        size = "by_hour" if given["by"] == "hour" else "by_day"
    if length > MOST_DAYS["by_day"]:
        raise InvalidParameter(f"from: at most {MOST_DAYS['by_day']} days before to", parameter="from")
    if size == "by_hour" and length > MOST_DAYS["by_hour"]:
        size = "by_day"
    return Span(first, last, size, where, name, days)


def _dates(given: Mapping[str, str], today: date) -> tuple[date, date, int]:
    if given.get("from") or given.get("to"):
        last = _date(given["to"], "to") if given.get("to") else today
        first = _date(given["from"], "from") if given.get("from") else last
        if first > last:
            raise InvalidParameter("from: must not be after to", parameter="from")
        return first, last, 0
    text = given.get("days") or "7"
    if text not in {str(days) for days in DAYS}:
        raise InvalidParameter(f"days: one of {', '.join(map(str, DAYS))}", parameter="days")
    return today - timedelta(days=int(text) - 1), today, int(text)


def _date(text: str, name: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise InvalidParameter(f"{name}: a date such as 2026-03-01", parameter=name) from None
    if not 1971 <= found.year <= 2198:
        raise InvalidParameter(f"{name}: a year between 1971 and 2198", parameter=name)
    return found


@dataclass(frozen=True, slots=True)
class Figures:
    """``now`` and ``before``: every shown metric over the span and the one before. ``series``: the buckets, (beginning, metrics) each.

    ``made``: when.
    """

    span: Span
    now: JsonObject
    before: JsonObject
    series: list[tuple[datetime, JsonObject]]
    made: datetime

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show, neither now nor before."""
        return not (self.now["passing_by"]["value"] or self.before["passing_by"]["value"])

    def change(self, name: str) -> float | None:
        """How much more than before, as a share; None where there was nothing to compare with."""
        now, before = self.now[name]["value"], self.before[name]["value"]
        return None if now is None or not before else float(now / before - 1)


async def read_figures(audience: Audience, stream: str, span: Span, disclosure: Disclosure) -> Figures:
    """Ask the visits; what is not shown is null. Raises `shared.errors.StoreAway`."""
    senior_age = await audience.senior_age()
    edges = [milliseconds(span.before.astimezone(UTC)), milliseconds(span.begin.astimezone(UTC)), milliseconds(span.end.astimezone(UTC))]
    before, now = await audience.totals(stream, edges, senior_age)
    series: list[tuple[datetime, JsonObject]] = []
    page, pages = 1, 1
    while page <= pages:
        found = buckets(span.begin, span.end, span.size, span.where, page)
        totals = await audience.totals(stream, found.edges, senior_age)
        series += [(datetime.fromisoformat(key), shown(one, disclosure)) for key, one in zip(found.keys, totals, strict=True)]
        page, pages = page + 1, found.pages
    return Figures(span, shown(now, disclosure), shown(before, disclosure), series, datetime.now(span.where))


def shown(totals: Totals, disclosure: Disclosure) -> JsonObject:
    """The metrics of the dashboard."""
    return {name: disclosure.metric(name, totals) for name in SHOWN}


def for_charts(figures: Figures) -> JsonObject:
    """What the page's script draws. Values that are not known are null."""
    by_hour = figures.span.size == "by_hour"
    form = ("%H:%M" if figures.span.length == 1 else "%d %b %H:%M") if by_hour else "%d %b"
    values = {name: [one[name]["value"] for _, one in figures.series] for name in SHOWN[:5]}
    return {
        "labels": [moment.strftime(form) for moment, _ in figures.series],
        "series": values,
        "gender": figures.now["gender"],
        "category": figures.now["category"],
    }


def for_spreadsheet(figures: Figures) -> list[list[object]]:
    """Rows of a table with a header, a bucket each. Nothing in it was written by anybody but us, so no cell can be a formula."""
    names = [(metric, part) for metric in SHOWN for part in figures.now[metric]]
    header = ["begin", *(metric if part == "value" else f"{metric} {'unknown' if part == '?' else part}" for metric, part in names)]
    rows: list[list[object]] = [
        [moment.isoformat(), *("" if one[metric][part] is None else one[metric][part] for metric, part in names)]
        for moment, one in figures.series
    ]
    return [list(header), *rows]
