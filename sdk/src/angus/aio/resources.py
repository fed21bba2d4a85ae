"""Blobs, services, jobs and sessions, awaited."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional, TypeVar

from angus import results
from angus._core.attempts import new_key
from angus._core.documents import ACCEPTED, child
from angus._core.requests import body_of, frozen
from angus._core.transport import JOB_SECONDS, hold
from angus.aio.frames import WINDOW, FrameStream
from angus.errors import ApiError, StillRunning

if TYPE_CHECKING:
    from angus.aio.connection import Connection

T = TypeVar("T")


class Blob:
    """A file at the server; give it wherever a service takes a file. ``endpoint``: its address."""

    def __init__(self, connection: Connection, endpoint: str) -> None:
        self._connection = connection
        self.endpoint = endpoint

    async def delete(self) -> None:
        """Delete it at the server."""
        await self._connection.ask("DELETE", self.endpoint)


class Blobs:
    """Files at the server, uploaded once and used in many requests."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.endpoint = child(connection.root, "blobs")

    async def create(self, binary: Any) -> Blob:
        """Upload a file: open in binary mode, bytes, a path, or a picture as an array. Raises `ApiError`, `Unreachable`."""
        document = await self._connection.ask("POST", self.endpoint, await asyncio.to_thread(body_of, {"content": binary}))
        return Blob(self._connection, document["url"])


class Job:
    """One request to a service: made, and sooner or later finished. ``result``: its document, as last heard of."""

    def __init__(self, connection: Connection, result: dict[str, Any]) -> None:
        self._connection = connection
        self.result = result

    @property
    def endpoint(self) -> str:
        """The job's address."""
        return str(self.result["url"])

    @property
    def status(self) -> int:
        """202 while it is not finished; then 200 or 201, or the status of its error."""
        return int(self.result["status"])

    @property
    def finished(self) -> bool:
        """Whether the document holds an answer or an error."""
        return self.status != ACCEPTED

    async def fetch(self) -> dict[str, Any]:
        """Get the document anew. Raises `ApiError`, `Unreachable`."""
        self.result = await self._connection.ask("GET", self.endpoint)
        return self.result

    async def wait(self, seconds: float = JOB_SECONDS) -> Job:
        """This job, finished. Raises `StillRunning` when it is not within ``seconds``."""
        until = time.monotonic() + seconds
        while not self.finished:
            left = until - time.monotonic()
            if left <= 0:
                raise StillRunning(f"the job is not finished after {seconds:g} s: {self.endpoint}")
            self.result = await self._connection.ask("GET", self.endpoint, headers=hold(left, self._connection.timeout))
        return self

    async def cancel(self) -> dict[str, Any]:
        """End the job unless it has ended; the document that it came to."""
        self.result = await self._connection.ask("DELETE", self.endpoint)
        return self.result

    def parse(self, kind: type[T]) -> T:
        """The answer as one of the dataclasses of `angus.results`. Raises `ValueError` when there is no such answer."""
        return results.parse(kind, self.result)


class Session:
    """What ties requests together: frames of one camera, chunks of one sound. Its requests are sent one after the other."""

    def __init__(self, session_id: Optional[str] = None, parameters: Optional[Mapping[str, Any]] = None) -> None:
        """``parameters`` go with each of its requests; files among them are read now."""
        self.id = session_id or str(uuid.uuid4())
        self.parameters = frozen(parameters)
        self.turn = asyncio.Lock()

    def state(self) -> dict[str, str]:
        """The parameter ``state`` of the requests that belong to it."""
        return {"session_id": self.id}


class Processor:
    """What services and composites have in common: sessions, and what goes with each request."""

    def __init__(self) -> None:
        self.default_session: Optional[Session] = None

    def create_session(self, parameters: Optional[Mapping[str, Any]] = None) -> Session:
        """A session to give to `process`; ``parameters`` (an ``album``, …) go with each of its requests."""
        return Session(None, parameters)

    def enable_session(self, parameters: Optional[Mapping[str, Any]] = None) -> Session:
        """From now on requests belong to one session."""
        self.default_session = self.create_session(parameters)
        return self.default_session

    def disable_session(self) -> None:
        """From now on each request stands alone again."""
        self.default_session = None

    def _completed(self, parameters: Optional[Mapping[str, Any]], session: Optional[Session]) -> dict[str, Any]:
        if session is None:
            return dict(parameters or {})
        return {**(parameters or {}), **session.parameters, "state": session.state()}


class Service(Processor):
    """One version of a service. ``endpoint``: its address."""

    def __init__(self, connection: Connection, name: str, endpoint: str) -> None:
        super().__init__()
        self._connection = connection
        self.name = name
        self.endpoint = endpoint

    async def process(
        self,
        parameters: Optional[Mapping[str, Any]] = None,
        async_: bool = False,
        session: Optional[Session] = None,
        *,
        wait: Optional[float] = None,
        idempotency_key: Optional[str] = None,
    ) -> Job:
        """The job, finished; with ``async_`` as soon as the server has it safe; with ``wait`` as it is after so many seconds.

        ``idempotency_key``: the same key with the same parameters is the same job; by default each call has its own. Calls of one
        session wait for each other. Raises `ApiError`, `Unreachable`, `StillRunning`.
        """
        session = session or self.default_session
        completed = self._completed(parameters, session)
        if wait is None:
            completed["async"] = async_
        if session is None:
            return await self._send(completed, wait, idempotency_key)
        async with session.turn:
            return await self._send(completed, wait, idempotency_key)

    def stream(
        self, parameters: Optional[Mapping[str, Any]] = None, *, session: Optional[Session] = None, window: int = WINDOW
    ) -> FrameStream:
        """Frames over a WebSocket, answered in order: ``async with service.stream() as stream``, see `FrameStream`.

        ``parameters`` are those of all frames. ``window``: frames under way at a time; fewer mean answers sooner, more a higher rate over
        a long line. With a ``session`` (or one enabled) that is not the stream's own, the session outlives the stream.
        """
        session = session or self.default_session
        own = {} if session is None else session.parameters
        return FrameStream(self, {**(parameters or {}), **own}, session, window)

    async def get_description(self) -> dict[str, Any]:
        """The service's document: what it is, and the JSON Schemas of what it takes and answers."""
        return await self._connection.ask("GET", self.endpoint)

    async def _send(self, parameters: Mapping[str, Any], wait: Optional[float], key: Optional[str]) -> Job:
        headers = {} if wait is None else {"Prefer": f"wait={max(0, round(wait))}"}
        body = await asyncio.to_thread(body_of, parameters)
        document = await self._connection.ask("POST", child(self.endpoint, "jobs"), body, key=key or new_key(), headers=headers)
        job = Job(self._connection, document)
        if wait is not None or parameters["async"]:
            return job
        await job.wait()
        if job.status >= 400:
            raise ApiError(job.status, job.result)
        return job
