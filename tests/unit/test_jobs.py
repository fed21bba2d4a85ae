"""A job's bytes: what was written is read, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jobs import (
    Job,
    Turn,
    UndecodableJob,
    blob_place,
    decode_job,
    is_job_file,
    job_files_of,
    owner_of,
    parse_session_key,
    queue_of,
    session_key,
)
from shared.privacy import ANALYSES, known_analyses

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
moment = st.floats(0, 4e9)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)
jobs = st.builds(
    Job,
    id=text,
    service=text,
    version=st.integers(1, 99),
    tenant=text,
    created=moment,
    deadline=moment,
    parameters=st.dictionaries(text, json, max_size=4),
    files=st.dictionaries(text, st.binary(max_size=100), max_size=4),
    blobs=st.dictionaries(text, text, max_size=4),
    turn=st.none() | st.builds(Turn, text, st.integers(1, 2**31), st.booleans()),
    explain=st.booleans(),
    trace=st.none() | text,
    off=st.lists(st.sampled_from(ANALYSES)).map(known_analyses),
)
JOB = Job(
    "id", "service", 1, "tenant", 1.5, 2.5, {"image": "attachment://a"}, {"attachment://a": b"\xff\xd8\xff", "attachment://b": b"xyz"}
)


def header(**changes: Any) -> bytes:
    """The bytes of a job without files whose header has these values instead."""
    plain = replace(JOB, files={}).encode()
    changed = orjson.dumps({**orjson.loads(plain[8:]), **changes})
    return plain[:4] + len(changed).to_bytes(4, "big") + changed


@given(jobs)
def test_what_was_written_is_read(job: Job) -> None:
    assert decode_job(job.encode()) == job


@given(jobs, st.data())
def test_a_job_cut_short_is_undecodable(job: Job, data: st.DataObject) -> None:
    body = job.encode()
    with pytest.raises(UndecodableJob):
        decode_job(body[: data.draw(st.integers(0, len(body) - 1))])


@given(jobs, st.binary(min_size=1, max_size=20))
def test_a_job_with_something_behind_it_is_undecodable(job: Job, more: bytes) -> None:
    with pytest.raises(UndecodableJob):
        decode_job(job.encode() + more)


@given(st.binary(max_size=200), st.sampled_from([b"", b"SJ1\n", b"SJ1\n\0\0\0\x02", b"SJ1\n\0\0\0\x10"]))
def test_garbage_is_undecodable(garbage: bytes, beginning: bytes) -> None:
    with pytest.raises(UndecodableJob):
        decode_job(beginning + garbage)


@given(json)
def test_a_header_that_is_no_jobs_is_undecodable(value: object) -> None:
    encoded = orjson.dumps(value)
    with pytest.raises(UndecodableJob):
        decode_job(b"SJ1\n" + len(encoded).to_bytes(4, "big") + encoded)


@given(st.data())
def test_flipped_bits_make_another_job_or_none(data: st.DataObject) -> None:
    body = bytearray(JOB.encode())
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert isinstance(decode_job(bytes(body)), Job)
    except UndecodableJob:
        pass


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 5},
        {"service": None},
        {"version": "1"},
        {"version": True},
        {"tenant": ["tenant"]},
        {"created": "now"},
        {"deadline": None},
        {"parameters": []},
        {"parameters": None},
        {"files": [["a", -1]]},
        {"files": [["a", 0.0]]},
        {"files": [["a", "0"]]},
        {"files": [["a"]]},
        {"files": [[{}, 0]]},
        {"files": 7},
        {"blobs": []},
        {"blobs": {"a": 1}},
        {"turn": ["session", 1]},
        {"turn": ["session", "1", False]},
        {"turn": [None, 1, False]},
        {"turn": "abc"},
        {"turn": 3},
        {"explain": "yes"},
        {"trace": 1},
        {"off": "age"},
        {"off": {"age": True}},
        {"off": None},
    ],
    ids=str,
)
def test_a_value_of_another_type_is_undecodable(changes: dict[str, Any]) -> None:
    with pytest.raises(UndecodableJob):
        decode_job(header(**changes))


def test_what_a_newer_version_adds_is_ignored() -> None:
    assert decode_job(header(priority=9)) == replace(JOB, files={})
    assert decode_job(header(off=["shoe size", "gender", "age"])).off == ("age", "gender")


@given(
    st.uuids().map(str),
    st.from_regex(r"[a-z_]{1,20}", fullmatch=True),
    st.integers(1, 99),
    st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True),
)
def test_the_key_of_a_session_is_read(tenant: str, service: str, version: int, session_id: str) -> None:
    key = session_key(tenant, service, version, session_id)
    assert parse_session_key(key) == (tenant, service, version, session_id)
    assert key.startswith(owner_of(tenant, service, version))


@pytest.mark.parametrize("key", ["", "a", "a/b.1", "a/b/c", "a/b.x/c", "a/b.1/c/d"])
def test_another_key_is_not_a_sessions(key: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_session_key(key)


def test_the_first_version_has_the_plain_queue() -> None:
    assert [queue_of("dummy", version) for version in (1, 2)] == ["dummy", "dummy.2"]


def test_a_jobs_own_file_is_not_among_the_tenants_blobs() -> None:
    own = job_files_of("blob")
    assert (is_job_file(own), is_job_file("blob")) == (True, False)
    assert blob_place("tenant", own) == (job_files_of("tenant"), "blob")
    assert blob_place("tenant", "blob") == ("tenant", "blob")
