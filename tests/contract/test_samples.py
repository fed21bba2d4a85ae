"""The samples of albums, over every store."""

from __future__ import annotations

import asyncio
import time
import uuid

from shared.jobs import Job
from tests.contract.stores import OpenPair, Pair, open_pair, pair
from workers.contract import MediaLimits, Sample
from workers.runtime.samples import SampleReader

__all__ = ["open_pair", "pair"]


def album(*blob_ids: str) -> Job:
    now = time.time()
    return Job("id", "face_recognition", 1, "tenant", now, now + 30, samples={f"/blobs/{blob_id}": blob_id for blob_id in blob_ids})


async def samples_of(reader: SampleReader, *blob_ids: str) -> list[Sample]:
    source = await reader.of(album(*blob_ids))
    return [source.sample(f"/blobs/{blob_id}", MediaLimits()) for blob_id in blob_ids]


async def test_samples_are_read_by_model_threads(pair: Pair) -> None:
    mine, deleted = [await pair.gateway.blobs.put("tenant", data) for data in (b"mine", b"deleted")]
    foreign = await pair.gateway.blobs.put("other", b"foreign")
    await pair.gateway.blobs.delete("tenant", deleted)
    samples = await samples_of(SampleReader(pair.worker.blobs, 5), mine, deleted, foreign)
    assert [sample.fault is None for sample in samples] == [True, False, False]
    assert await asyncio.gather(*(asyncio.to_thread(sample.read) for sample in samples)) == [b"mine", None, None]


async def test_an_album_of_ten_thousand_is_looked_at_in_one_question(open_pair: OpenPair) -> None:
    async with open_pair(blobs_per_stream=5) as pair:
        there = [await pair.gateway.blobs.put("tenant", b"data") for _ in range(3)]
        others = [str(uuid.uuid4()) for _ in range(9_997)]
        samples = await samples_of(SampleReader(pair.worker.blobs, 5), there[0], *others, *there[1:])
        assert [index for index, sample in enumerate(samples) if sample.fault is None] == [0, 9_998, 9_999]
