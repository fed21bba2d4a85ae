"""From a validated request to a job that is safe in the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import nullcontext

from gateway.jobs.requests import Draft
from shared import metrics, trace
from shared.errors import StoreAway
from shared.jobs import EXPIRY_SLACK, Job, Turn, blob_place, job_files_of, queue_of, session_key
from shared.log import get_logger
from shared.ports import Broker, Message, Stores
from shared.settings import Settings

log = get_logger(__name__)


class JobPublisher:
    """Numbers the frames of sessions, stores large files, and publishes."""

    def __init__(self, settings: Settings, broker: Broker, stores: Stores) -> None:
        self._settings, self._broker, self._stores = settings, broker, stores

    async def publish(self, draft: Draft, job_id: str) -> None:
        """Return once the broker has confirmed the job; for one that it does not take, all is undone."""
        inline, stored = await self._place_files(draft)
        turn: Turn | None = None
        try:
            async with nullcontext() if draft.request.place is None else draft.request.place(job_id):
                turn = await self._number(draft)
            job = self._job(draft, job_id, turn, inline, stored)
            message = Message(_queue(draft), job.encode(), job_id, job.deadline - job.created + EXPIRY_SLACK)
            begin = time.perf_counter()
            with trace.span("publish", queue=message.queue, job=job_id, bytes=len(message.body)):
                await self._broker.publish(message)
            metrics.PUBLISH_SECONDS.observe(time.perf_counter() - begin)
        except BaseException:
            await asyncio.shield(self._undo(draft, turn, stored))
            raise

    def _job(
        self,
        draft: Draft,
        job_id: str,
        turn: Turn | None,
        inline: dict[str, bytes],
        stored: dict[str, str],
    ) -> Job:
        now, service = time.time(), draft.request.service
        return Job(
            id=job_id,
            service=service.name,
            version=service.version,
            tenant=draft.request.tenant.id,
            created=now,
            deadline=now + (draft.request.lasts or self._settings.deadline_seconds),
            parameters=draft.parameters,
            files=inline,
            blobs={**draft.files.blobs, **stored},
            samples=draft.files.samples,
            turn=turn,
            explain=draft.envelope.explain,
            off=draft.request.tenant.off,
            trace=trace.current(),
        )

    async def _place_files(self, draft: Draft) -> tuple[dict[str, bytes], dict[str, str]]:
        """Small files travel inside the message; large ones beside it, as blobs that end with the job."""
        inline, stored = {}, {}
        room, place = self._settings.inline_bytes, job_files_of(draft.request.tenant.id)
        for reference, data in draft.files.used.items():
            if len(data) <= room:
                inline[reference] = data
                room -= len(data)
            else:
                stored[reference] = job_files_of(await self._stores.blobs.put(place, data))
        return inline, stored

    async def _number(self, draft: Draft) -> Turn | None:
        state, service = draft.envelope.state, draft.request.service
        if state is None or service.state_type is None:
            return None
        session = session_key(draft.request.tenant.id, service.name, service.version, state.session_id)
        return Turn(session, await self._stores.sessions.number(session))

    async def _undo(self, draft: Draft, turn: Turn | None, stored: Mapping[str, str]) -> None:
        """A numbered frame that could not be published must not be waited for; its files must not stay."""
        try:
            if turn is not None:
                await self._stores.sessions.save(turn, None, None, None)
            for blob_id in stored.values():
                await self._stores.blobs.delete(*blob_place(draft.request.tenant.id, blob_id))
        except StoreAway:
            log.warning("submit.not_undone")  # the gap limit of the session and the blobs' expiry do it later


def _queue(draft: Draft) -> str:
    return queue_of(draft.request.service.name, draft.request.service.version)
