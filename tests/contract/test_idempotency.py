"""Which request an Idempotency-Key stood for, over every store."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.stores import OpenPair, Pair, open_pair, pair, until

__all__ = ["open_pair", "pair"]


async def test_the_first_claim_stands(pair: Pair) -> None:
    assert await pair.gateway.idempotency.claim("tenant", "key", "print", "job-1") == ("print", "job-1")
    assert await pair.worker.idempotency.claim("tenant", "key", "other", "job-2") == ("print", "job-1")


async def test_one_of_many_claims_wins(pair: Pair) -> None:
    claims = [stores.idempotency.claim("tenant", "key", "print", f"job-{number}") for number in range(20) for stores in pair]
    assert len(set(await asyncio.gather(*claims))) == 1


@pytest.mark.parametrize(("one", "other"), [(("a", "key"), ("b", "key")), (("a", "bc"), ("ab", "c")), (("a", ":b"), ("a:", "b"))])
async def test_keys_of_tenants_stay_apart(pair: Pair, one: tuple[str, str], other: tuple[str, str]) -> None:
    await pair.gateway.idempotency.claim(*one, "print", "job-1")
    assert await pair.gateway.idempotency.claim(*other, "print", "job-2") == ("print", "job-2")


@pytest.mark.parametrize("key", ["", " ", "*", "a\r\nDEL b", "ü", "k" * 1000, "\udcff"])
async def test_any_text_is_a_key(pair: Pair, key: str) -> None:
    assert await pair.gateway.idempotency.claim("tenant", key, "print", "job-1") == ("print", "job-1")
    assert await pair.gateway.idempotency.claim("tenant", key, "print", "job-2") == ("print", "job-1")


async def test_a_released_key_is_free(pair: Pair) -> None:
    await pair.gateway.idempotency.claim("tenant", "key", "print", "job-1")
    await pair.gateway.idempotency.release("tenant", "key")
    await pair.gateway.idempotency.release("tenant", "unknown")
    assert await pair.gateway.idempotency.claim("tenant", "key", "other", "job-2") == ("other", "job-2")


async def test_a_key_is_forgotten_after_its_time(open_pair: OpenPair) -> None:
    async with open_pair(idempotency_seconds=0.2) as pair:
        await pair.gateway.idempotency.claim("tenant", "key", "print", "job-1")

        async def free() -> bool:
            return await pair.gateway.idempotency.claim("tenant", "key", "print", "job-2") == ("print", "job-2")

        await until(free)
