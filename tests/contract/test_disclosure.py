"""What the data API does not show: what a stream has switched off, and groups too small to hide anybody."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import jsonschema
import pytest

from analytics.metrics import METRICS, Disclosure
from analytics.totals import Totals
from gateway.openapi.document import openapi_document
from shared.privacy import Analysis
from tests.contract.test_data_api import ANN, House, address, house, serve

__all__ = ["house"]

SPAN = {"from_date": "2024-03-30", "to_date": "2024-04-10"}
EVERYTHING = address("entities", metrics=",".join(METRICS), time="by_day", **SPAN)
BREAKDOWNS: dict[Analysis, set[str]] = {"age": {"category"}, "gender": {"category", "gender"}, "expression": {"satisfaction"}}
FIELDS = {"age": "age", "gender": "gender", "expression": "happiness"}


async def switch_off(house: House, *off: Analysis) -> None:
    await house.accounts.streams.set_off((await house.accounts.streams.of(ANN))[0], off)


async def buckets(house: House) -> tuple[dict[str, Any], dict[str, Any]]:
    status, answer, _ = await house.get(EVERYTHING)
    assert status == 200
    return answer["entities"], answer


@pytest.mark.parametrize("off", ["age", "gender", "expression"])
async def test_what_is_off_is_null_and_not_zero(house: House, off: Analysis) -> None:
    before, answer = await buckets(house)
    assert answer["off"] == []
    await switch_off(house, off)
    after, answer = await buckets(house)
    assert answer["off"] == [off]
    for key, metrics in after.items():
        for name, value in metrics.items():
            expected = dict.fromkeys(before[key][name]) if name in BREAKDOWNS[off] else before[key][name]
            assert value == expected, (key, name)
    visits = [visit for page in await house.pages(address("visits", **SPAN), "visits") for visit in page["visits"]]
    assert {visit[FIELDS[off]] for visit in visits} == {None}
    for other in set(FIELDS) - {off}:
        assert {visit[FIELDS[other]] for visit in visits} != {None}
    await switch_off(house)
    assert (await buckets(house))[0] == before


async def test_who_is_not_identified_is_counted_all_the_same(house: House) -> None:
    before, _ = await buckets(house)
    await switch_off(house, "identification")
    assert (await buckets(house))[0] == before


async def test_the_switches_of_a_stream_are_its_own(house: House) -> None:
    await switch_off(house, "gender")
    _, answer, _ = await house.get(EVERYTHING, await house.token(1))
    assert answer["off"] == []


async def test_small_groups_have_no_breakdown_and_visits_no_faces(house: House) -> None:
    before, _ = await buckets(house)
    sizes = sorted({metrics["interested"]["value"] for metrics in before.values()} - {0})
    smallest = sizes[len(sizes) // 2]
    async with AsyncExitStack() as stack:
        url = await serve(house.settings.model_copy(update={"smallest_group": smallest}), house.accounts, house.data, stack)
        _, answer, _ = await house.get(url + EVERYTHING)
        assert answer["smallest_group"] == smallest
        hidden = 0
        for key, metrics in answer["entities"].items():
            small = 0 < before[key]["interested"]["value"] < smallest
            hidden += small
            for name, value in metrics.items():
                breaks_down = name in {"category", "gender", "satisfaction"}
                assert value == (dict.fromkeys(before[key][name]) if small and breaks_down else before[key][name]), (key, name)
        assert 0 < hidden < len(before)
        _, answer, _ = await house.get(url + address("visits", **SPAN))
        assert {visit[field] for visit in answer["visits"] for field in FIELDS.values()} == {None}


async def test_answers_with_nulls_are_as_described(house: House) -> None:
    await switch_off(house, "age", "gender", "expression")
    paths = openapi_document([], house.url)["paths"]
    for path, asked in (("entities", EVERYTHING), ("visits", address("visits", **SPAN))):
        _, answer, _ = await house.get(asked)
        schema = paths[f"/api/1/{path}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator(schema).validate(answer)


@pytest.mark.parametrize(("interested", "hidden"), [(0, False), (1, True), (4, True), (5, False)])
def test_nobody_and_enough_people_hide_nothing(interested: int, hidden: bool) -> None:
    totals = Totals(visits=interested, interested=interested, female=interested)
    shown = Disclosure(smallest=5).metric("gender", totals)
    assert (shown["female"] is None) == hidden
    assert Disclosure(smallest=5).metric("interested", totals) == {"value": interested}
