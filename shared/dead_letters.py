"""What becomes of messages that died: kept for operators, and put back into their queue when one of them asks for it.

A job fails when its message dies, so its caller has been told the failure. Putting it back is the one way in which a job that ended
goes on: its failure gives its place to `Requeued`, whoever asks for the job hears that it is not finished, and then its one new end.
Nobody does that but an operator, and never for a job that was done or cancelled.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from hashlib import blake2b

from shared.errors import PerceptionError, ServiceFailed, StoreAway
from shared.events import Failed, Requeued
from shared.facts import DeadLetter
from shared.jobs import EXPIRY_SLACK, Job, UndecodableJob, blob_place, decode_job, is_job_file, job_files_of, queue_of
from shared.log import get_logger
from shared.ports import BlobStore, Broker, Entry, Message, Stores
from shared.reopening import obstacle_of
from shared.settings import Settings
from shared.visits import VISITS, UndecodableVisit, decode_visit

log = get_logger(__name__)

GIVEN_UP = "the job was given up after several attempts"
OF_A_SESSION = "it is a frame of a session, which has gone on without it"
UNREADABLE = "nobody can read it"


def letter_of(body: bytes, reason: str, died: float) -> tuple[DeadLetter, Job | None]:
    """What a message was, and the job if it was one. ``died``: seconds since 1970."""
    try:
        job = decode_job(body)
    except UndecodableJob:
        return _letter_of_no_job(body, reason, died), None
    letter = DeadLetter(
        id=job.id,
        kind="job",
        reason=reason,
        died=died,
        queue=queue_of(job.service, job.version),
        service=job.service,
        version=job.version,
        tenant=job.tenant,
        size=len(body),
        obstacle=None if job.turn is None else OF_A_SESSION,
    )
    return letter, job


def _letter_of_no_job(body: bytes, reason: str, died: float) -> DeadLetter:
    try:
        stream, visit = decode_visit(body)
    except UndecodableVisit:
        name = f"unreadable-{blake2b(body, digest_size=8).hexdigest()}"
        return DeadLetter(name, "unreadable", reason, died, size=len(body), obstacle=UNREADABLE)
    return DeadLetter(visit.id, "visit", reason, died, queue=VISITS, service=VISITS, tenant=stream, size=len(body))


class Archivist:
    """Keeps the letters of dead messages."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self._settings, self._stores = settings, stores

    async def keep(self, body: bytes, letter: DeadLetter, job: Job | None) -> None:
        """Keep a letter, with its message if it can be put back. A job has got its failure before. Raises `StoreAway`."""
        message = body if letter.kind == "visit" else None
        if job is not None:
            message = await self._message_of(job, letter)
            attempts = await self._stores.results.count_attempt(job.id, 0)
            letter = replace(letter, attempts=attempts, size=len(message or body))
        await self._stores.letters.keep(letter, message)

    async def _message_of(self, job: Job, letter: DeadLetter) -> bytes | None:
        if letter.obstacle is not None or not self._settings.dead_letter_input_seconds:
            return None
        last = await self._stores.results.events(job.id, -1)
        if last and obstacle_of(letter, b"", last[0]) is not None:
            return None  # done or cancelled: then nobody needs the input any more
        return await _whole(job, self._stores.blobs, self._settings.dead_letter_bytes)


async def _whole(job: Job, blobs: BlobStore, most: int) -> bytes | None:
    """The job with the files that were stored beside its message inside it; None when they are gone or too large."""
    files, others = dict(job.files), {}
    for reference, blob_id in job.blobs.items():
        if not is_job_file(blob_id):
            others[reference] = blob_id
            continue
        data = await blobs.get(*blob_place(job.tenant, blob_id))
        if data is None or sum(map(len, files.values())) + len(data) > most:
            return None
        files[reference] = data
    return replace(job, files=files, blobs=others).encode()


class DeadLetters:
    """What an operator can do with dead letters."""

    def __init__(self, settings: Settings, broker: Broker, stores: Stores) -> None:
        self._settings, self._broker, self._stores = settings, broker, stores

    async def listed(self, start: int, count: int) -> tuple[int, list[tuple[DeadLetter, str | None]]]:
        """(how many there are, those from ``start`` on, the latest first, each with why it cannot be put back). Raises `StoreAway`."""
        total, found = await self._stores.letters.letters(start, count)
        return total, [(letter, obstacle_of(letter, b"" if kept else None)) for letter, kept in found]

    async def requeue(self, letter_id: str) -> DeadLetter:
        """Put a letter back into its queue, with its attempts forgotten and a new deadline, and return it.

        Raises `NotFound`, `NotRequeueable`, and what `Broker.publish` does; then the job has failed as before and the letter is kept.
        A process that dies in between leaves the letter too, and it can be put back again: the job's result is still visible once.
        """
        event = Requeued(time.time())
        letter, message = await self._stores.letters.reopen(letter_id, event)
        try:
            await self._publish(letter, message, event.at)
        except BaseException as error:
            await asyncio.shield(self._fail_again(letter, error))
            raise
        await self._stores.letters.delete(letter_id)
        return letter

    async def delete(self, letter_id: str) -> bool:
        """Forget a letter and its input; whether there was one. Raises `StoreAway`."""
        return await self._stores.letters.delete(letter_id)

    async def _publish(self, letter: DeadLetter, message: bytes, now: float) -> None:
        if letter.kind != "job":
            await self._broker.publish(Message(letter.queue, message, letter.id, makes_queue=True))
            return
        job = decode_job(message)
        inline, stored = await self._place_files(job)
        seconds = self._settings.deadline_seconds
        fresh = replace(job, created=now, deadline=now + seconds, files=inline, blobs={**job.blobs, **stored})
        try:
            await self._broker.publish(Message(letter.queue, fresh.encode(), job.id, seconds + EXPIRY_SLACK))
        except BaseException:
            for blob_id in stored.values():
                await asyncio.shield(self._stores.blobs.delete(*blob_place(job.tenant, blob_id)))
            raise

    async def _place_files(self, job: Job) -> tuple[dict[str, bytes], dict[str, str]]:
        """As when the job was made: small files travel inside the message, large ones beside it."""
        inline, stored = {}, {}
        room = self._settings.inline_bytes
        for reference, data in job.files.items():
            if len(data) <= room:
                inline[reference] = data
                room -= len(data)
            else:
                stored[reference] = job_files_of(await self._stores.blobs.put(job_files_of(job.tenant), data))
        return inline, stored

    async def _fail_again(self, letter: DeadLetter, error: BaseException) -> None:
        if letter.kind != "job":
            return
        reason = error.message if isinstance(error, PerceptionError) else "the gateway stopped"
        failure = ServiceFailed(f"{GIVEN_UP}; it could not be put back: {reason}")
        try:
            await self._stores.results.append([Entry(letter.id, Failed.of(failure, time.time()))])
        except StoreAway:
            log.warning("dead_letter.not_failed_again", job=letter.id)  # the silence of the job says it later
