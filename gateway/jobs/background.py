"""What every gateway does beside answering: jobs that died get their failure, sessions that fell silent get closed."""

from __future__ import annotations

import asyncio
import time

from shared import metrics
from shared.aio import BackgroundTasks
from shared.dead_letters import GIVEN_UP, Archivist, letter_of
from shared.errors import DeadlineExceeded, PerceptionError, ServiceFailed, StoreAway, Unavailable
from shared.events import Failed, Requeued
from shared.job_ids import JobIds
from shared.jobs import EXPIRY_SLACK, Job, Turn, blob_place, is_job_file, owner_of, parse_session_key, queue_of
from shared.log import get_logger
from shared.ports import DEAD_LETTERS, Broker, Consumer, Delivery, Entry, Message, Stores
from shared.settings import Settings

log = get_logger(__name__)
_PREFETCH = 16


class DeadLetterKeeper:
    """Writes the failure of each job whose message died, so that nobody waits for it, and keeps its letter for operators."""

    def __init__(self, settings: Settings, broker: Broker, stores: Stores) -> None:
        self._broker, self._stores, self._retry_pause = broker, stores, settings.retry_pause_seconds
        self._archivist = Archivist(settings, stores)
        self._burials = BackgroundTasks()
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        self._consumer = await self._broker.consume(DEAD_LETTERS, _PREFETCH, self._handle)

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
        await self._burials.wait(self._retry_pause + 1)

    def _handle(self, delivery: Delivery) -> None:
        self._burials.start(self._bury(delivery))

    async def _bury(self, delivery: Delivery) -> None:
        reason = delivery.reason or "unknown"
        letter, job = letter_of(delivery.body, reason, time.time())
        if job is not None and _comes_again(job, reason):
            log.warning("session.closing_died", reason=reason, job=job.id)
            delivery.ack()
            return
        metrics.DEAD_LETTERS.labels(reason).inc()
        log.error("dead_letter", reason=reason, kind=letter.kind, id=letter.id, service=letter.service)
        try:
            if job is None:
                await self._archivist.keep(delivery.body, letter, None)
            elif not (delivery.redelivered and await self._was_requeued(job)):
                await self._write_failure(job, reason)
                await self._archivist.keep(delivery.body, letter, job)
                await self._drop_files(job)
        except StoreAway:
            await asyncio.sleep(self._retry_pause)
            delivery.reject(requeue=True)
            return
        delivery.ack()

    async def _was_requeued(self, job: Job) -> bool:
        """Whether an operator has put the job back meanwhile: then its death is over, and must not be told again."""
        events = await self._stores.results.events(job.id)
        return any(isinstance(event, Requeued) and event.at > job.created for event in events)

    async def _write_failure(self, job: Job, reason: str) -> None:
        late = reason == "expired" or time.time() > job.deadline
        error: PerceptionError = DeadlineExceeded() if late else ServiceFailed(GIVEN_UP)
        entry = Entry(job.id, Failed.of(error, time.time()))
        if job.turn is not None:
            await self._stores.sessions.save(job.turn, None, None, entry)
        else:
            await self._stores.results.append([entry])

    async def _drop_files(self, job: Job) -> None:
        """What was stored for this job alone ends with it; the archive has what it needs."""
        for blob_id in filter(is_job_file, job.blobs.values()):
            await self._stores.blobs.delete(*blob_place(job.tenant, blob_id))


def _comes_again(job: Job, reason: str) -> bool:
    """Whether it is the closing of a session that did not die of its attempts: the session keeps its state, and the lease on its
    closing ends, so that another one is sent. To give its turn up would forget the state, with everybody in view."""
    return job.turn is not None and job.turn.closing and reason != "rejected" and time.time() <= job.deadline


class SessionKeeper:
    """Closes sessions that fell silent by an ordinary job with the next number."""

    def __init__(self, settings: Settings, broker: Broker, stores: Stores, ids: JobIds) -> None:
        self._settings, self._broker, self._stores, self._ids = settings, broker, stores, ids

    async def keep_closing(self, every: float = 1.0) -> None:
        """Look every so many seconds, for ever."""
        while True:
            await asyncio.sleep(every)
            try:
                turns = await self._stores.sessions.expired()
            except StoreAway:
                log.warning("sessions.not_looked_at")
                continue
            for turn in turns:
                await self._close(turn)

    async def close_all(self, within: float) -> None:
        """Close every session, silent or not, and return once they are, at the latest after ``within`` seconds: for a process whose
        store ends with it."""
        sessions = self._stores.sessions
        turns = await sessions.expired(every=True)
        await asyncio.gather(*(self._close(turn) for turn in turns))
        try:
            async with asyncio.timeout(within):
                await asyncio.gather(*(sessions.advanced(turn.session, turn.number) for turn in turns))
        except TimeoutError:
            log.warning("sessions.not_closed", most=len(turns))

    async def _close(self, turn: Turn) -> None:
        try:
            await self._broker.publish(closing_message(self._ids, turn, self._settings))
            metrics.SESSIONS_CLOSED.inc()
        except Unavailable as error:
            log.warning("session.not_closed", code=error.code)  # the claim lapses, and somebody closes it later


def closing_message(ids: JobIds, turn: Turn, settings: Settings) -> Message:
    """The job that closes a session. Its deadline is not that of other jobs: people in view when the last frame came are counted by
    it, however long no worker was there. Its message expires as those of other jobs do and another is sent, so that the sessions
    that wait for a worker cannot fill the queue."""
    tenant, service, version, _ = parse_session_key(turn.session)
    now = time.time()
    job_id = ids.make(owner_of(tenant, service, version), synchronous=False)
    job = Job(job_id, service, version, tenant, now, now + settings.closing_seconds, turn=turn)
    return Message(queue_of(service, version), job.encode(), job_id, settings.deadline_seconds + EXPIRY_SLACK)
