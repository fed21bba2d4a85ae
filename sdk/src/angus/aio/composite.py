"""Several services asked as if they were one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional

from angus._core.composing import combined, documents_of, unfinished
from angus._core.requests import is_file
from angus._core.transport import JOB_SECONDS
from angus.aio.resources import Blob, Job, Processor, Service, Session
from angus.errors import AngusError, ApiError

if TYPE_CHECKING:
    from angus.aio.connection import Connection

log = logging.getLogger("angus")


class CompositeJob(Job):
    """The jobs of several services on the same parameters. ``result`` has each service's document under its name."""

    @property
    def finished(self) -> bool:
        """Whether every service has finished."""
        return not unfinished(self.result)

    async def fetch(self) -> dict[str, Any]:
        """Ask anew for each that was not finished."""
        return await self._each(lambda job: job.fetch())

    async def wait(self, seconds: float = JOB_SECONDS) -> CompositeJob:
        """This job, with every service finished. Raises `StillRunning`."""
        await self._each(lambda job: job.wait(seconds))
        return self

    async def cancel(self) -> dict[str, Any]:
        """End those that have not ended."""
        return await self._each(lambda job: job.cancel())

    async def _each(self, act: Any) -> dict[str, Any]:
        jobs = {name: Job(self._connection, self.result[name]) for name in unfinished(self.result)}
        await asyncio.gather(*(act(job) for job in jobs.values()))
        self.result = combined({**documents_of(self.result), **{name: job.result for name, job in jobs.items()}}.items())
        return self.result


class CompositeService(Processor):
    """Several services asked as if they were one: what is a file is uploaded once.

    Where the server has a service ``composite`` that does these, it is one request, and faces are looked for once.
    """

    def __init__(self, connection: Connection, services: Mapping[str, Service], native: Optional[str] = None) -> None:
        """``native``: address of the server's own composite, if it does these services."""
        super().__init__()
        self._connection = connection
        self.services = dict(services)
        self._native = None if native is None else Service(connection, "composite", native)

    async def process(self, parameters: Optional[Mapping[str, Any]] = None, async_: bool = False, session: Optional[Session] = None) -> Job:
        """A job whose ``result`` has each service's document under its name; that of a service that failed has ``error``.

        Raises `Unreachable`, and `ApiError` when no service could be asked at all.
        """
        session = session or self.default_session
        if self._native is not None:
            return await self._native.process({**(parameters or {}), "services": list(self.services)}, async_, session)
        completed = {**self._completed(parameters, session), "async": async_}
        if session is None:
            return await self._send(completed)
        async with session.turn:
            return await self._send(completed)

    async def _send(self, completed: Mapping[str, Any]) -> Job:
        blobs: list[Blob] = []
        try:
            uploaded = await self._uploaded(completed, blobs)
            documents = await asyncio.gather(*(self._document(service, uploaded) for service in self.services.values()))
            job = CompositeJob(self._connection, combined(zip(self.services, documents)))
            return job if completed["async"] else await job.wait()
        finally:
            if not completed["async"]:
                await asyncio.gather(*map(_forget, blobs))

    async def _uploaded(self, value: Any, blobs: list[Blob]) -> Any:
        """The value with each file in it uploaded and replaced by its blob."""
        if isinstance(value, Mapping):
            return {name: await self._uploaded(inner, blobs) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [await self._uploaded(inner, blobs) for inner in value]
        if is_file(value):
            blobs.append(await self._connection.blobs.create(value))
            return blobs[-1]
        return value

    async def _document(self, service: Service, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What a service answers, or why it does not. Raises `ApiError` for wrong credentials, which concern all services."""
        try:
            return (await service._send(parameters, None, None)).result
        except ApiError as error:
            if error.status == 401:
                raise
            return {"status": error.status, "error": error.message, "code": error.code}


async def _forget(blob: Blob) -> None:
    """Delete a blob that nobody needs any more; the server deletes one that stays when its time is over."""
    try:
        await blob.delete()
    except AngusError as error:
        log.info("%s was not deleted: %s", blob.endpoint, error)
