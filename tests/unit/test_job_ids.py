"""Only what an installation made itself for an owner is read as one of that owner's jobs."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.job_ids import SHARDS, JobIds, shard_of

OWNER = "tenant/service.1"
IDS = JobIds(b"a key of the installation", 7)
MADE = IDS.make(OWNER, synchronous=True)

owners = st.text(min_size=1, max_size=40)


@given(st.binary(min_size=1, max_size=64), st.integers(0, SHARDS - 1), owners, st.booleans())
def test_what_is_made_is_read(key: bytes, shard: int, owner: str, synchronous: bool) -> None:
    begin = time.time()
    job_id = JobIds(key, shard).make(owner, synchronous=synchronous)
    ref = JobIds(key, shard ^ 1).read(job_id, owner)  # by another process of the installation
    assert ref is not None
    assert (ref.id, ref.shard, ref.synchronous) == (job_id, shard, synchronous)
    assert begin - 0.001 <= ref.created <= time.time()
    assert shard_of(job_id) == shard


def test_no_two_are_alike() -> None:
    assert len({IDS.make(OWNER, synchronous=False) for _ in range(2000)}) == 2000


@given(owners)
def test_another_owner_does_not_know_it(owner: str) -> None:
    assume(owner != OWNER)
    assert IDS.read(MADE, owner) is None


@given(st.binary(min_size=1, max_size=64))
def test_another_installation_does_not_know_it(key: bytes) -> None:
    assume(key != b"a key of the installation")
    assert JobIds(key, 7).read(MADE, OWNER) is None


@given(st.integers(0, len(MADE) - 1), st.characters())
def test_one_changed_character_is_enough(place: int, character: str) -> None:
    assume(MADE[place] != character)
    assert IDS.read(MADE[:place] + character + MADE[place + 1 :], OWNER) is None


@given(st.integers(0, len(MADE)), st.integers(0, len(MADE)))
def test_a_part_is_not_the_whole(start: int, end: int) -> None:
    assume((start, end) != (0, len(MADE)))
    assert IDS.read(MADE[start:end], OWNER) is None


@given(st.text(max_size=80) | st.from_regex(r"[0-9a-f ]{8}(-[0-9a-f ]{4}){3}-[0-9a-f ]{12}-[0-9a-f]{16}", fullmatch=True))
def test_anything_else_is_refused_and_has_a_channel(text: str) -> None:
    assert IDS.read(text, OWNER) is None
    assert 0 <= shard_of(text) < SHARDS


@pytest.mark.parametrize("spelling", ["", "{0} ", " {0}", "{0}\n", "{{{0}}}", "urn:uuid:{0}", "{0}{0}", "{0}00"])
def test_other_spellings_are_refused(spelling: str) -> None:
    assert IDS.read(spelling.format(MADE), OWNER) is None


def test_only_the_spelling_that_was_given_out_is_read() -> None:
    other_digits = MADE.translate({ord("0") + digit: 0x660 + digit for digit in range(10)})
    for text in (MADE.upper(), MADE.replace("-", ""), MADE.replace("-", "_"), other_digits):
        assert text != MADE
        assert IDS.read(text, OWNER) is None
