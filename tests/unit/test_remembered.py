"""Asked once, whoever looks; asked again when it is too old."""

from __future__ import annotations

import asyncio

import pytest

from console.remembered import Remembered


async def test_many_cause_one_question_until_the_answer_is_too_old() -> None:
    now, asked = [0.0], []

    async def ask(key: int) -> str:
        asked.append(key)
        await asyncio.sleep(0)
        return f"{key} at {now[0]}"

    known: Remembered[int, str] = Remembered(ask, 5, clock=lambda: now[0])
    assert set(await asyncio.gather(*(known.get(1) for _ in range(20)))) == {"1 at 0.0"}
    assert asked == [1]
    now[0] = 5
    assert await known.get(1) == "1 at 0.0"
    now[0] = 5.1
    assert await known.get(1) == "1 at 5.1"
    assert await known.get(2) == "2 at 5.1"


async def test_what_raises_is_asked_again_and_so_many_are_kept() -> None:
    asked = []

    async def ask(key: int) -> int:
        asked.append(key)
        if len(asked) == 1:
            raise ValueError
        return key

    known: Remembered[int, int] = Remembered(ask, 1000, most=2)
    with pytest.raises(ValueError):  # noqa: PT011 - the test's own
        await known.get(1)
    for key in (1, 2, 3, 3, 2, 1):
        await known.get(key)
    assert asked == [1, 1, 2, 3, 1]
