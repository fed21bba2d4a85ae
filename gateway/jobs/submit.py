"""From a request to a job that is safe in the broker, and from its events back to an answer."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson
from pydantic import ValidationError

from gateway.jobs.availability import Availability
from gateway.jobs.backlog import Backlog
from gateway.jobs.files import RequestFiles
from gateway.jobs.metering import Metering
from gateway.jobs.publishing import JobPublisher
from gateway.jobs.requests import ENVELOPE_KEYS, Draft, Envelope, Request
from shared import metrics
from shared.errors import IdempotencyConflict, InvalidParameter, PerceptionError, QueueFull, StoreAway
from shared.events import Event
from shared.job_ids import JobIds
from shared.jobs import owner_of
from shared.log import get_logger
from shared.ports import Broker, Stores
from shared.settings import Settings
from webhooks.dispatcher import WebhookDispatcher
from webhooks.egress import check_url
from webhooks.model import Delivery
from workers.catalog import ServiceType
from workers.composing import ComposedInput
from workers.contract import MediaLimits, invalid_parameter

log = get_logger(__name__)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that is safe. ``events`` are its events with their indexes, ``ignored`` the keys that nobody reads.

    ``expected``: its end is of use to others than the request that made it: one with the same Idempotency-Key,
    or a webhook.
    ``fields``: header fields for the answer, about the use of the plan.
    """

    job_id: str
    events: AsyncIterator[tuple[int, Event]]
    ignored: tuple[str, ...] = ()
    repeated: bool = False
    expected: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)


class Submitter:
    """Accepts jobs: validates, has them published, and follows."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        stores: Stores,
        availability: Availability,
        ids: JobIds,
        metering: Metering,
        webhooks: WebhookDispatcher,
    ) -> None:
        self._settings, self._stores, self._availability, self._ids = settings, stores, availability, ids
        self._metering, self._webhooks = metering, webhooks
        self._publisher = JobPublisher(settings, broker, stores)
        self._limits = MediaLimits.of(settings)
        self._backlog = Backlog(stores.workers, settings)
        self._accepted: dict[str, Any] = {}

    @asynccontextmanager
    async def submit(self, request: Request, envelope: Envelope, *, synchronous: bool) -> AsyncIterator[Submitted]:
        """Make the request a job and follow it while the block lasts. Raises a `PerceptionError` when it is not accepted."""
        service = request.service
        try:
            await self._availability.require(service)
        except PerceptionError as error:
            raise _refused(service, error) from None
        owner = owner_of(request.tenant.id, service.name, service.version)
        job_id = self._ids.make(owner, synchronous=synchronous)
        taken = await self._claim(request, job_id)
        if taken is not None:
            async with self._stores.results.follow(taken) as events:
                yield Submitted(taken, events, repeated=True, expected=True)
            return
        async with self._stores.results.follow(job_id) as events:
            try:
                draft = self._validate(request, envelope)
                await self._require_blobs(draft)
                grant = await self._metering.admit(request.tenant)
                async with self._noted(draft, job_id, synchronous=synchronous) as unread:
                    await self._publisher.publish(draft, job_id)
            except PerceptionError as error:
                await self._release(request)
                raise _refused(service, await self._backlog.full(service) if isinstance(error, QueueFull) else error) from None
            self._count(service.name)
            expected = request.idempotency_key is not None or envelope.webhook is not None
            yield Submitted(job_id, events, (*draft.ignored, *unread), expected=expected, fields=grant.fields)

    def _validate(self, request: Request, envelope: Envelope) -> Draft:
        files = RequestFiles(request.document.attachments, request.base_url, self._limits)
        given = request.document.parameters
        known = request.service.input_type.model_fields
        parameters = {name: value for name, value in given.items() if name in known}
        try:
            value = request.service.input_type.model_validate(parameters, context={"files": files})
        except ValidationError as error:
            raise invalid_parameter(error) from None
        if envelope.webhook is not None:
            check_url(envelope.webhook.url, private=self._settings.webhook_private)
        if isinstance(value, ComposedInput):
            self._availability.require_any(value.services)
        ignored = () if len(given) == len(parameters) else tuple(name for name in given if name not in known and name not in ENVELOPE_KEYS)
        return Draft(request, parameters, envelope, files, ignored)

    @asynccontextmanager
    async def _noted(self, draft: Draft, job_id: str, *, synchronous: bool) -> AsyncIterator[tuple[str, ...]]:
        """Note the job's webhook before it is published: what a crash leaves behind is a note without a job, never a job without its note.

        Gives the keys that are not heeded: ``webhook``, when its receiver wants nothing any more.
        """
        wanted, request = draft.envelope.webhook, draft.request
        if wanted is None:
            yield ()
            return
        job_url = f"{request.base_url}/services/{request.service.name}/{request.service.version}/jobs/{job_id}"
        delivery = Delivery(job_id, request.tenant.id, wanted.url, job_url, synchronous, int(time.time() * 1000))
        if not await self._webhooks.note(delivery):
            yield ("webhook",)
            return
        try:
            yield ()
        except BaseException:
            with suppress(StoreAway):
                await asyncio.shield(self._webhooks.drop(job_id))
            raise
        self._webhooks.expect(delivery)

    async def _require_blobs(self, draft: Draft) -> None:
        if not draft.files.blobs:
            return
        references = list(draft.files.blobs)
        there = await self._stores.blobs.exists(draft.request.tenant.id, [draft.files.blobs[reference] for reference in references])
        for reference, exists in zip(references, there, strict=True):
            if not exists:
                name = draft.files.parameter_of(reference, draft.parameters)
                raise InvalidParameter(f"{name}: there is no such blob", parameter=name)

    async def _claim(self, request: Request, job_id: str) -> str | None:
        """The job that the request's Idempotency-Key already stands for, if it does."""
        key = request.idempotency_key
        if key is None:
            return None
        if not _IDEMPOTENCY_KEY.fullmatch(key):
            raise InvalidParameter("Idempotency-Key: 1 to 255 visible ASCII characters", parameter="Idempotency-Key")
        fingerprint = _fingerprint(request)
        known, job = await self._stores.idempotency.claim(request.tenant.id, key, fingerprint, job_id)
        if known != fingerprint:
            raise IdempotencyConflict
        return None if job == job_id else job

    async def _release(self, request: Request) -> None:
        if request.idempotency_key is not None:
            try:
                await asyncio.shield(self._stores.idempotency.release(request.tenant.id, request.idempotency_key))
            except StoreAway:
                log.warning("idempotency.unreleased")

    def _count(self, service: str) -> None:
        counter = self._accepted.get(service)
        if counter is None:
            counter = self._accepted[service] = metrics.ACCEPTED.labels(service)
        counter.inc()


def _refused(service: ServiceType, error: PerceptionError) -> PerceptionError:
    metrics.REFUSED.labels(service.name, error.code).inc()
    return error


def _fingerprint(request: Request) -> str:
    """Equal requests have equal fingerprints, however their JSON is spaced and ordered."""
    digest = blake2b(owner_of(request.tenant.id, request.service.name, request.service.version).encode(), digest_size=16)
    digest.update(orjson.dumps(request.document.parameters, option=orjson.OPT_SORT_KEYS))
    for name in sorted(request.document.attachments):
        digest.update(name.encode() + b"\0" + blake2b(request.document.attachments[name], digest_size=16).digest())
    return digest.hexdigest()
