"""Instants as clients write them, and the buckets between two of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.periods import PAGE, Page, Size, buckets, instant, milliseconds, zone
from shared.errors import InvalidParameter

HOUR = 3_600_000
ZONES = ("UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "America/Sao_Paulo", "America/Havana")
#: Whose clocks changed by half an hour, or by a whole day.
ODD_ZONES = ("Australia/Lord_Howe", "Asia/Pyongyang", "America/Caracas", "Pacific/Apia", "Pacific/Kwajalein")
MOMENTS = st.floats(157_766_400, 1_893_456_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))

#: Moments shortly before the clocks of `ODD_ZONES` changed.
ODD_MOMENTS = st.builds(
    lambda change, seconds: at(change) - timedelta(seconds=seconds),
    st.sampled_from(
        [
            "2024-04-06T15:00",
            "2024-10-05T15:30",
            "2015-08-14T15:00",
            "2018-05-04T15:00",
            "2007-12-09T07:00",
            "2016-05-01T07:00",
            "2011-12-30T10:00",
            "1993-08-21T12:00",
        ]
    ),
    st.floats(0, 10 * 86_400),
)


def at(text: str) -> datetime:
    return instant(text, "from_date")


def page_of(begin: str, end: str, size: Size, where: str = "UTC", page: int = 1) -> Page:
    return buckets(at(begin), at(end), size, zone(where), page)


def every_page(begin: datetime, end: datetime, size: Size, where: str) -> list[Page]:
    first = buckets(begin, end, size, zone(where), 1)
    return [first, *(buckets(begin, end, size, zone(where), number) for number in range(2, first.pages + 1))]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2017-09-03T05:45:00+0200", "2017-09-03T03:45:00+00:00"),
        ("2017-09-03T05:45:00+02:00", "2017-09-03T03:45:00+00:00"),
        ("2017-09-03T05:45:00 0200", "2017-09-03T03:45:00+00:00"),
        ("2017-09-03T05:45:00 02:00", "2017-09-03T03:45:00+00:00"),
        ("2017-09-03T05:45:00.5 02:00", "2017-09-03T03:45:00.500000+00:00"),
        ("2017-09-03T05:45:00-0330", "2017-09-03T09:15:00+00:00"),
        ("2017-09-03T05:45:00Z", "2017-09-03T05:45:00+00:00"),
        ("2017-09-03T05:45:00", "2017-09-03T05:45:00+00:00"),
        ("2017-09-03 05:45:00", "2017-09-03T05:45:00+00:00"),
        ("2017-09-03", "2017-09-03T00:00:00+00:00"),
    ],
)
def test_an_instant_is_read_as_clients_write_it(text: str, utc: str) -> None:
    assert at(text).astimezone(UTC).isoformat() == utc


def test_an_instant_keeps_its_offset() -> None:
    assert at("2017-09-03T05:45:00+0200").isoformat() == "2017-09-03T05:45:00+02:00"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1504410300",
        "2017-13-01",
        "2017-02-29",
        "2017-09-03T25:00:00",
        "2016-12-31T23:59:60Z",
        "2017-09-03T05:45:00+25:00",
        "2017-09-03T05:45:00 02 00",
        "0000-01-01",
        "0001-01-01T00:00:00+23:59",
        "1969-12-31T23:59:59Z",
        "2201-01-01",
        "9999-12-31T23:59:59-23:59",
        "2017-09-03\x00",
        "\u0662\u0660\u0661\u0667-09-03",
        "2" * 8000,
    ],
)
def test_what_is_no_instant_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidParameter, match="to_date") as refused:
        instant(text, "to_date")
    assert refused.value.parameter == "to_date"


@pytest.mark.parametrize("name", ["", "Nowhere", "../../../etc/passwd", "/etc/localtime", "Europe", "a\x00b", "x" * 5000, "Europe/paris "])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match="Europe/Paris"):
        zone(name)


def test_the_first_and_the_last_hour_are_cut_and_keyed_by_the_whole_one() -> None:
    page = page_of("2017-09-03T05:45:00+02:00", "2017-09-03T05:10:00Z", "by_hour")
    assert list(page.keys) == ["2017-09-03T03:00:00+00:00", "2017-09-03T04:00:00+00:00", "2017-09-03T05:00:00+00:00"]
    edges = [milliseconds(at(f"2017-09-03T{time}:00Z")) for time in ("03:45", "04:00", "05:00", "05:10")]
    assert (list(page.edges), page.total, page.pages) == (edges, 3, 1)


def test_a_bucket_that_would_be_empty_at_the_end_is_not_there() -> None:
    assert page_of("2017-09-03T05:00:00Z", "2017-09-03T06:00:00Z", "by_hour").total == 1
    assert page_of("2017-09-03", "2017-09-04", "by_day").total == 1


def test_the_whole_is_keyed_by_its_beginning() -> None:
    page = page_of("2017-09-03T05:45:00+0200", "2018-01-01", "global")
    assert (list(page.keys), page.total, page.pages) == (["2017-09-03T05:45:00+02:00"], 1, 1)


@pytest.mark.parametrize("size", ["by_hour", "by_day"])
def test_no_time_has_no_buckets(size: Size) -> None:
    page = page_of("2017-09-03", "2017-09-03", size)
    assert (list(page.keys), len(page.edges), page.total, page.pages) == ([], 1, 0, 1)


def test_a_day_of_a_change_of_clocks_has_its_own_length() -> None:
    spring = page_of("2024-03-30T23:00:00Z", "2024-04-01T22:00:00Z", "by_day", "Europe/Paris")
    assert list(spring.keys) == ["2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00"]
    assert [(b - a) // HOUR for a, b in zip(spring.edges, spring.edges[1:], strict=False)] == [23, 24]
    autumn = page_of("2024-10-26T22:00:00Z", "2024-10-27T23:00:00Z", "by_day", "Europe/Paris")
    assert [(b - a) // HOUR for a, b in zip(autumn.edges, autumn.edges[1:], strict=False)] == [25]


def test_an_hour_that_comes_twice_has_two_buckets() -> None:
    page = page_of("2024-10-27T00:00:00Z", "2024-10-27T02:00:00Z", "by_hour", "Europe/Paris")
    assert list(page.keys) == ["2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00"]


def test_hours_of_half_zones_begin_at_their_own_hours() -> None:
    page = page_of("2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z", "by_hour", "Asia/Kolkata")
    assert list(page.keys) == ["2024-01-01T05:00:00+05:30", "2024-01-01T06:00:00+05:30"]


def test_a_day_without_midnight_begins_when_it_begins() -> None:
    page = page_of("2017-10-15T03:00:00Z", "2017-10-16T02:00:00Z", "by_day", "America/Sao_Paulo")
    assert list(page.keys) == ["2017-10-15T01:00:00-02:00"]


def test_a_day_that_the_calendar_left_out_is_not_there() -> None:
    """Samoa went from the 29th to the 31st of December 2011."""
    page = page_of("2011-12-29T10:00:00Z", "2012-01-01T10:00:00Z", "by_day", "Pacific/Apia")
    assert list(page.keys) == ["2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"]
    assert (page.total, [(b - a) // HOUR for a, b in zip(page.edges, page.edges[1:], strict=False)]) == (3, [24, 24, 24])
    assert page_of("2011-12-31", "2012-06-30", "by_day", "Pacific/Apia", page=2).keys[-1] == "2012-06-30T00:00:00+13:00"


@pytest.mark.parametrize(
    ("begin", "keys", "minutes"),
    [
        (
            "2024-04-06T14:00:00Z",  # at two the clock went back to half past one
            ["2024-04-07T01:00:00+11:00", "2024-04-07T01:30:00+10:30", "2024-04-07T02:00:00+10:30"],
            [60, 30, 60],
        ),
        (
            "2024-10-05T14:30:00Z",  # at two the clock went on to half past two
            ["2024-10-06T01:00:00+10:30", "2024-10-06T02:30:00+11:00", "2024-10-06T03:00:00+11:00"],
            [60, 30, 60],
        ),
    ],
)
def test_where_clocks_change_by_half_an_hour_hours_are_whole_again_afterwards(begin: str, keys: list[str], minutes: list[int]) -> None:
    end = (at(begin) + timedelta(minutes=sum(minutes))).isoformat()
    page = page_of(begin, end, "by_hour", "Australia/Lord_Howe")
    assert list(page.keys) == keys
    assert [(b - a) // 60_000 for a, b in zip(page.edges, page.edges[1:], strict=False)] == minutes
    within = page_of((at(begin) + timedelta(minutes=70)).isoformat(), end, "by_hour", "Australia/Lord_Howe")
    assert list(within.keys) == keys[1:]


def test_a_century_by_hours_costs_one_page() -> None:
    page = page_of("1990-01-01", "2090-01-01", "by_hour", page=3000)
    assert (page.total, page.pages, len(page.keys), len(page.edges)) == (876_600, 8766, PAGE, PAGE + 1)
    assert page.keys[0] == (datetime(1990, 1, 1, tzinfo=UTC) + timedelta(hours=2999 * PAGE)).isoformat()


@pytest.mark.parametrize(("size", "last"), [("by_hour", 3), ("by_day", 1), ("global", 1)])
def test_a_page_that_there_is_not_is_refused(size: Size, last: int) -> None:
    span = ("2024-01-01", "2024-01-10T12:00:00")
    page_of(*span, size, page=last)
    for beyond in (0, -1, last + 1, 10**9):
        with pytest.raises(InvalidParameter, match=f"between 1 and {last}$"):
            page_of(*span, size, page=beyond)


@given(
    begin=MOMENTS | ODD_MOMENTS,
    length=st.timedeltas(timedelta(milliseconds=1), timedelta(days=40)),
    size=st.sampled_from(["by_hour", "by_day", "global"]),
    where=st.sampled_from(ZONES + ODD_ZONES),
)
def test_buckets_cover_the_span_without_gap_or_overlap(begin: datetime, length: timedelta, size: Any, where: str) -> None:
    end = begin + length
    pages = every_page(begin, end, size, where)
    edges = [pages[0].edges[0]]
    for page in pages:
        assert page.edges[0] == edges[-1]
        assert len(page.edges) == len(page.keys) + 1 <= PAGE + 1
        edges += page.edges[1:]
    assert (edges[0], edges[-1]) == (milliseconds(begin), milliseconds(end))
    assert edges == sorted(set(edges))
    keys = [key for page in pages for key in page.keys]
    assert len(keys) == len(set(keys)) == pages[0].total


@given(
    begin=MOMENTS | ODD_MOMENTS,
    length=st.timedeltas(timedelta(milliseconds=1), timedelta(days=10)),
    where=st.sampled_from(ZONES + ODD_ZONES),
)
def test_every_edge_between_two_days_is_an_edge_between_two_hours(begin: datetime, length: timedelta, where: str) -> None:
    def edges(size: Size) -> set[int]:
        return {edge for page in every_page(begin, begin + length, size, where) for edge in page.edges}

    assert edges("by_day") <= edges("by_hour")
