"""Changes of a time zone's clock that move more than a bucket's length: by parts of an hour, or by a whole day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

#: No such change was undone within fewer days, so looking once in so many finds them all.
_LOOK_DAYS = 28
_FROM, _TO = datetime(1970, 1, 1, tzinfo=UTC), datetime(2201, 1, 1, tzinfo=UTC)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
#: All zones of the IANA database are fewer.
_MOST_ZONES = 600


@dataclass(frozen=True, slots=True)
class Clock:
    """Of one time zone. ``changes``: when the parts of an hour by which it differs from UTC changed, ordered; ``skipped``: days that
    never were there, because the zone moved across the date line."""

    changes: tuple[datetime, ...]
    skipped: tuple[date, ...]


@lru_cache(_MOST_ZONES)
def clock(where: tzinfo) -> Clock:
    """What is odd about this zone's clock between 1970 and 2200: nothing, for nearly all of them."""
    changes, skipped = [], []
    before, old = _FROM, _offset(_FROM, where)
    while before < _TO:
        after = before + timedelta(days=_LOOK_DAYS)
        new = _offset(after, where)
        if (new - old) % _HOUR:
            changes.append(_moment(before, after, where, parts=True))
        if new - old > _DAY - timedelta(hours=3):
            moment = _moment(before, after, where, parts=False)
            last = (moment - timedelta(microseconds=1)).astimezone(where).date()
            skipped += [last + timedelta(days=n) for n in range(1, (moment.astimezone(where).date() - last).days)]
        before, old = after, new
    return Clock(tuple(changes), tuple(skipped))


def parts_of_hour(moment: datetime, where: tzinfo) -> timedelta:
    """By how much more than whole hours the zone's clock is ahead of UTC, 0 to an hour."""
    return _offset(moment, where) % _HOUR


def _offset(moment: datetime, where: tzinfo) -> timedelta:
    return moment.astimezone(where).utcoffset() or timedelta(0)


def _moment(before: datetime, after: datetime, where: tzinfo, *, parts: bool) -> datetime:
    """The second of the change between two moments, found by halving."""

    def state(moment: datetime) -> object:
        return parts_of_hour(moment, where) if parts else _offset(moment, where) > _offset(before, where) + _DAY / 2

    old = state(before)
    while (gap := (after - before) // timedelta(seconds=1)) > 1:
        middle = before + timedelta(seconds=gap // 2)
        if state(middle) == old:
            before = middle
        else:
            after = middle
    return after
