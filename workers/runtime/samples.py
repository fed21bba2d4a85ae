"""The samples of albums: which of them are there is asked once a job, their bytes only when a model thread wants them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Set
from concurrent.futures import Future
from dataclasses import dataclass

from shared.errors import StoreAway
from shared.jobs import Job
from shared.ports import BlobStore
from workers.contract import NO_ADDRESS, NO_BLOB, MediaLimits, Sample

#: Albums of up to so many blobs are looked at for each job; larger ones, which cost the store milliseconds, once in so many seconds.
SMALL = 1000
RECHECK_SECONDS = 2.0
_LOOKS_KEPT = 8


@dataclass(frozen=True, slots=True)
class JobSamples:
    """A `workers.contract.SampleSource`: identifiers by reference, and which of them ``tenant`` has."""

    tenant: str
    blobs: Mapping[str, str]
    there: Set[str]
    fetch: Callable[[str], bytes | None]

    def sample(self, reference: str, limits: MediaLimits) -> Sample:
        blob_id = self.blobs.get(reference)
        if blob_id is None:
            return Sample.faulty(reference, NO_ADDRESS)
        key = _key(self.tenant, blob_id)
        if blob_id not in self.there:
            return Sample.faulty(reference, NO_BLOB, key)
        return Sample.of_blob(reference, limits, key, self.fetch)


class SampleReader:
    """Between the event loop, in which the store lives, and the model threads."""

    def __init__(self, blobs: BlobStore, seconds: float) -> None:
        """A model thread waits for a blob for at most ``seconds``."""
        self._blobs, self._seconds = blobs, seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looks: OrderedDict[tuple[str, tuple[str, ...]], tuple[float, Set[str]]] = OrderedDict()

    async def of(self, job: Job) -> JobSamples:
        """The samples of a job, after one look at which of them are there. Raises `StoreAway`."""
        self._loop = asyncio.get_running_loop()
        return JobSamples(job.tenant, job.samples, await self._look(job.tenant, tuple(dict.fromkeys(job.samples.values()))), self.read)

    def read(self, key: str) -> bytes | None:
        """The bytes of a sample's key; None when they are gone. Called from model threads. Raises `StoreAway`."""
        tenant, _, blob_id = key.rpartition("/")
        getting = self._blobs.get(tenant, blob_id)
        try:
            if self._loop is None:
                raise RuntimeError("no job has come yet")
            future: Future[bytes | None] = asyncio.run_coroutine_threadsafe(getting, self._loop)
        except RuntimeError:  # the loop is closed: the process ends
            getting.close()
            raise StoreAway from None
        try:
            return future.result(self._seconds)
        except TimeoutError:
            future.cancel()
            raise StoreAway from None

    async def _look(self, tenant: str, blob_ids: tuple[str, ...]) -> Set[str]:
        look = self._looks.get((tenant, blob_ids))
        if look is not None and time.monotonic() - look[0] < RECHECK_SECONDS:
            return look[1]
        found = await self._blobs.exists(tenant, blob_ids)
        there = frozenset(blob_id for blob_id, exists in zip(blob_ids, found, strict=True) if exists)
        if len(blob_ids) > SMALL:
            self._looks[tenant, blob_ids] = time.monotonic(), there
            self._looks.move_to_end((tenant, blob_ids))
            while len(self._looks) > _LOOKS_KEPT:
                self._looks.popitem(last=False)
        return there


def _key(tenant: str, blob_id: str) -> str:
    """Blobs never change, so that their identifier stands for their bytes; the tenant keeps what is computed of them apart."""
    return f"{tenant}/{blob_id}"
