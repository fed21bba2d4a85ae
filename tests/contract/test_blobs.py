"""Bytes of tenants, over every store."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from shared.errors import InputTooLarge
from tests.contract.stores import OpenPair, Pair, open_pair, pair, until

__all__ = ["open_pair", "pair"]

UNKNOWN = str(uuid.UUID(int=0))


@pytest.mark.parametrize("data", [b"", b"\x00\xff\r\n" * 10, bytes(range(256)) * 20_000])
async def test_bytes_come_back_as_they_were(pair: Pair, data: bytes) -> None:
    blob = await pair.gateway.blobs.put("tenant", data)
    assert await pair.worker.blobs.get("tenant", blob) == data


async def test_a_blob_belongs_to_its_tenant(pair: Pair) -> None:
    blob = await pair.gateway.blobs.put("a", b"secret")
    assert await pair.gateway.blobs.get("b", blob) is None
    assert await pair.gateway.blobs.exists("b", [blob]) == [False]
    assert not await pair.gateway.blobs.delete("b", blob)
    assert await pair.gateway.blobs.get("a", blob) == b"secret"


async def test_tenants_whose_names_nest_stay_apart(pair: Pair) -> None:
    blob = await pair.gateway.blobs.put("a:b", b"secret")
    assert await pair.gateway.blobs.get("a", f"b:{blob}") is None
    assert not await pair.gateway.blobs.delete("a", f"b:{blob}")
    assert await pair.gateway.blobs.exists("a", [f"b:{blob}"]) == [False]


async def test_what_is_deleted_is_gone(pair: Pair) -> None:
    blob = await pair.gateway.blobs.put("tenant", b"data")
    assert await pair.gateway.blobs.delete("tenant", blob)
    assert not await pair.gateway.blobs.delete("tenant", blob)
    assert await pair.worker.blobs.get("tenant", blob) is None


async def test_exists_answers_in_the_order_of_the_question(pair: Pair) -> None:
    first, second = [await pair.gateway.blobs.put("tenant", data) for data in (b"1", b"2")]
    question = [UNKNOWN, second, "../etc/passwd", first, ""]
    assert await pair.worker.blobs.exists("tenant", question) == [False, True, False, True, False]
    assert await pair.worker.blobs.exists("tenant", []) == []


async def test_a_tenant_has_so_many_blobs_and_no_more(open_pair: OpenPair) -> None:
    async with open_pair(blobs_per_stream=3) as pair:
        puts = [pair.gateway.blobs.put("tenant", b"data") for _ in range(6)]
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        stored = [outcome for outcome in outcomes if isinstance(outcome, str)]
        assert len(stored) == 3
        assert sum(isinstance(outcome, InputTooLarge) for outcome in outcomes) == 3
        await pair.gateway.blobs.put("other", b"data")
        assert await pair.gateway.blobs.delete("tenant", stored[0])
        await pair.gateway.blobs.put("tenant", b"data")
        with pytest.raises(InputTooLarge, match="3"):
            await pair.gateway.blobs.put("tenant", b"data")


async def test_blobs_expire_and_make_room(open_pair: OpenPair) -> None:
    async with open_pair(blob_seconds=0.3, blobs_per_stream=1) as pair:
        blob = await pair.gateway.blobs.put("tenant", b"data")

        async def room() -> bool:
            try:
                await pair.gateway.blobs.put("tenant", b"next")
            except InputTooLarge:
                return False
            return True

        await until(room)
        assert await pair.gateway.blobs.get("tenant", blob) is None


async def test_use_keeps_a_blob_alive(open_pair: OpenPair) -> None:
    async with open_pair(blob_seconds=0.6) as pair:
        used, asked, forgotten = [await pair.gateway.blobs.put("tenant", b"data") for _ in range(3)]
        for _ in range(6):
            await asyncio.sleep(0.2)
            assert await pair.gateway.blobs.get("tenant", used) == b"data"
            assert await pair.gateway.blobs.exists("tenant", [asked]) == [True]
        assert await pair.gateway.blobs.get("tenant", forgotten) is None
