"""The samples of an album on their way: lenient at the gateway, looked at once by the runner, read when they are wanted."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest

import workers.runtime.samples
from gateway.jobs.files import RequestFiles
from sensorium.processes.adapters import open_stores
from shared.errors import StoreAway
from shared.jobs import Job, decode_job
from shared.ports import BlobStore, Stores
from shared.settings import read_settings
from workers.contract import NO_ADDRESS, NO_BLOB, Files, Input, MediaLimits, Sample
from workers.runtime.samples import SampleReader

HERE = "http://gate.example"


class Album(Input):
    album: dict[str, list[Sample]]


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    async with open_stores(read_settings({}), 7) as opened:
        yield opened


def job(samples: dict[str, str], tenant: str = "tenant") -> Job:
    now = time.time()
    return Job("id", "service", 1, tenant, now, now + 30, samples=samples)


def address(blob_id: str) -> str:
    return f"{HERE}/blobs/{blob_id}"


def test_the_gateway_takes_any_reference_and_knows_the_blobs() -> None:
    blob_id = str(uuid.uuid4())
    references = [
        "attachment://a",
        "attachment://b",
        address(blob_id),
        f"/blobs/{blob_id}",
        f"http://elsewhere.example/blobs/{blob_id}",
        "x",
    ]
    files = RequestFiles({"attachment://a": b"data"}, HERE)
    Album.model_validate({"album": {"somebody": references}}, context={"files": files})
    assert files.used == {"attachment://a": b"data"}
    assert files.samples == {address(blob_id): blob_id, f"/blobs/{blob_id}": blob_id}
    assert files.blobs == {}


@pytest.mark.parametrize("album", [{"a": [5]}, {"a": [None]}, {"a": 5}, ["a"], "a"])
def test_what_is_no_reference_is_refused(album: object) -> None:
    with pytest.raises(ValueError, match="album"):
        Album.model_validate({"album": album}, context={"files": RequestFiles({}, HERE)})


def test_a_job_carries_its_samples() -> None:
    sent = job({"/blobs/x": "x"})
    assert decode_job(sent.encode()).samples == {"/blobs/x": "x"}
    assert decode_job(job({}).encode()).samples == {}


def test_without_a_store_attachments_are_samples() -> None:
    files = Files({"attachment://a": b"data", "attachment://same": b"data", "attachment://b": b""})
    found = Album.model_validate({"album": {"x": ["attachment://a", "attachment://same", "attachment://b", "y"]}}, context=files.context())
    first, same, empty, other = found.album["x"]
    assert (first.read(), first.fault) == (b"data", None)
    assert first.key == same.key
    assert (empty.read(), bool(empty.fault)) == (None, True)
    assert (other.read(), other.fault) == (None, NO_ADDRESS)
    assert other.reference == "y"


async def read_in_a_thread(sample: Sample) -> bytes | None:
    return await asyncio.to_thread(sample.read)


async def test_a_sample_is_read_from_a_model_thread(stores: Stores) -> None:
    mine, deleted = [await stores.blobs.put("tenant", data) for data in (b"mine", b"deleted")]
    foreign = await stores.blobs.put("other", b"foreign")
    await stores.blobs.delete("tenant", deleted)
    source = await SampleReader(stores.blobs, 5).of(job({address(blob): blob for blob in (mine, deleted, foreign)}))
    samples = [source.sample(reference, MediaLimits()) for reference in (address(mine), address(deleted), address(foreign), "http://x")]
    assert [sample.fault for sample in samples] == [None, NO_BLOB, NO_BLOB, NO_ADDRESS]
    assert [await read_in_a_thread(sample) for sample in samples] == [b"mine", None, None, None]
    assert samples[0].key == f"tenant/{mine}"
    await stores.blobs.delete("tenant", mine)
    assert await read_in_a_thread(samples[0]) is None


async def test_a_small_album_is_looked_at_for_each_job(stores: Stores) -> None:
    blob = await stores.blobs.put("tenant", b"data")
    reader = SampleReader(stores.blobs, 5)
    assert (await reader.of(job({"/a": blob}))).sample("/a", MediaLimits()).fault is None
    await stores.blobs.delete("tenant", blob)
    assert (await reader.of(job({"/a": blob}))).sample("/a", MediaLimits()).fault == NO_BLOB


class Counting:
    """A blob store that counts the questions."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self.asked = 0

    async def exists(self, tenant: str, blob_ids: Sequence[str]) -> list[bool]:
        self.asked += 1
        return await self._blobs.exists(tenant, blob_ids)

    async def get(self, tenant: str, blob_id: str) -> bytes | None:
        await asyncio.Event().wait()  # a store that never answers
        return None

    async def put(self, tenant: str, data: bytes) -> str:
        return await self._blobs.put(tenant, data)

    async def delete(self, tenant: str, blob_id: str) -> bool:
        return await self._blobs.delete(tenant, blob_id)


async def test_a_large_album_is_looked_at_once_in_a_while(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(stores.blobs)
    reader = SampleReader(counting, 5)
    large = {f"/{number}": str(number) for number in range(workers.runtime.samples.SMALL + 1)}
    for tenant in ("a", "a", "b", "a"):
        await reader.of(job(large, tenant))
    assert counting.asked == 2
    await reader.of(job({**large, "/more": "more"}, "a"))
    assert counting.asked == 3
    monkeypatch.setattr(workers.runtime.samples, "RECHECK_SECONDS", 0.0)
    await reader.of(job(large, "a"))
    assert counting.asked == 4


async def test_a_store_that_does_not_answer_is_away(stores: Stores) -> None:
    blob = await stores.blobs.put("tenant", b"data")
    source = await SampleReader(Counting(stores.blobs), 0.05).of(job({"/a": blob}))
    with pytest.raises(StoreAway):
        await read_in_a_thread(source.sample("/a", MediaLimits()))


def test_a_process_that_ends_reads_nothing_more() -> None:
    async def prepare() -> Sample:
        async with open_stores(read_settings({}), 7) as stores:
            blob = await stores.blobs.put("tenant", b"data")
            return (await SampleReader(stores.blobs, 5).of(job({"/a": blob}))).sample("/a", MediaLimits())

    sample = asyncio.run(prepare())
    with pytest.raises(StoreAway):
        sample.read()
