"""Resources over HTTP, as the 2018 client had them: collections, services, jobs, sessions."""

from __future__ import annotations

import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Optional, TypeVar, Union

import httpx

from angus import results
from angus._core.attempts import Attempts, new_key
from angus._core.documents import ACCEPTED, child, document_of, same_or_safer, version_url
from angus._core.lanes import Lanes
from angus._core.requests import Body, body_of, frozen
from angus._core.transport import JOB_SECONDS, hold, timeouts, tls
from angus.errors import ApiError, StillRunning
from angus.retries import Retries

T = TypeVar("T")
#: Requests of `Service.process_async` at a time, and how many may wait besides before it blocks.
WORKERS, WAITING = 10, 10


class Configuration:
    """How the server is reached. Set what is to be set before the first request.

    ``timeout``: seconds for an answer, by default 90. ``retries``: when requests are sent again.
    """

    def __init__(self) -> None:
        self.auth: Optional[httpx.BasicAuth] = None
        self.default_root: Optional[str] = None
        self.timeout: Optional[float] = None
        self.verify: Union[bool, str] = True
        self.retries = Retries()
        self._lock = threading.Lock()
        self._client: Optional[httpx.Client] = None
        self._lanes: Optional[Lanes] = None

    def set_credential(self, client_id: str, access_token: str) -> None:
        """The login and password of a stream."""
        self.auth = httpx.BasicAuth(client_id, access_token)

    def set_ca_path(self, ca_path: str) -> None:
        """Trust the certificates in this file (PEM) and no others."""
        self.verify = ca_path

    def do_not_verify(self) -> None:
        """Trust any certificate: whoever is in between can read and change everything. For a test on your own machine only."""
        warnings.warn("certificates are not verified: anybody in between can read the credentials", RuntimeWarning, stacklevel=2)
        self.verify = False

    @property
    def client(self) -> httpx.Client:
        """The connections, opened when first needed and shared by all threads."""
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(auth=self.auth, timeout=timeouts(self.timeout), verify=tls(self.verify))
            return self._client

    @property
    def lanes(self) -> Lanes:
        """The threads of `Service.process_async`."""
        with self._lock:
            if self._lanes is None:
                self._lanes = Lanes(WORKERS, WORKERS + WAITING)
            return self._lanes

    def ask(
        self,
        method: str,
        url: str,
        body: Optional[Body] = None,
        *,
        key: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
        params: Optional[Mapping[str, Any]] = None,
    ) -> dict[str, Any]:
        """The JSON answer to a request, sent again as `Retries` says. Raises `AngusError`s."""
        if self.default_root:
            same_or_safer(self.default_root, url)
        attempts = Attempts(self.retries, url, safe=method != "POST", key=key)
        given = {"headers": {}} if body is None else body.arguments()
        while True:
            sent = {**given, "headers": {**given["headers"], **(headers or {}), **attempts.headers()}}
            pause: Optional[float]
            try:
                response = self.client.request(method, url, params=params, **sent)
            except httpx.TransportError as error:
                pause = attempts.failed(error)
            else:
                pause = attempts.answered(response)
                if pause is None:
                    return document_of(response.status_code, response.headers, response.content, url)
            time.sleep(pause)

    def close(self) -> None:
        """Wait for what `Service.process_async` has begun, and close the connections. The next request opens new ones."""
        with self._lock:
            client, lanes, self._client, self._lanes = self._client, self._lanes, None, None
        if lanes is not None:
            lanes.close()
        if client is not None:
            client.close()


class Resource:
    """Something with an address (``endpoint``) and, once it is known, a JSON document (``representation``)."""

    CREATED = 201
    ACCEPTED = ACCEPTED

    def __init__(self, parent: Optional[str], name: str, representation: Any = None, conf: Optional[Configuration] = None) -> None:
        self.parent = parent
        self.name = name
        self.endpoint = name if parent is None else child(parent, name)
        self.representation = representation
        self.conf = conf or Configuration()

    @property
    def status(self) -> Any:
        """The status in the document; None while there is none."""
        return None if self.representation is None else self.representation.get("status")

    def fetch(self) -> Any:
        """Get the document anew. Raises `ApiError`, `Unreachable`."""
        self.representation = self.conf.ask("GET", self.endpoint)
        return self.representation

    def delete(self) -> None:
        """Delete it at the server."""
        self.conf.ask("DELETE", self.endpoint)


R = TypeVar("R", bound=Resource)


class Collection(Resource):
    """Resources of one kind: list them, make more."""

    def create(self, parameters: Optional[Mapping[str, Any]], resource_type: Callable[..., R] = Resource) -> R:  # type: ignore[assignment]
        """Make a resource. ``parameters``: its JSON, in which files may be. Raises `ApiError`, `Unreachable`."""
        return self._made(body_of(parameters or {}), resource_type)

    def list(self, filters: Optional[Mapping[str, Any]] = None) -> dict[str, Any]:
        """The collection's document. ``filters`` whose value is None do not filter."""
        return self.conf.ask("GET", self.endpoint, params={name: value for name, value in (filters or {}).items() if value is not None})

    def _made(self, body: Body, kind: Callable[..., R], key: Optional[str] = None, headers: Optional[Mapping[str, str]] = None) -> R:
        document = self.conf.ask("POST", self.endpoint, body, key=key, headers=headers)
        return kind(self.endpoint, document.get("url", ""), representation=document, conf=self.conf)


class Job(Resource):
    """One request to a service: made, and sooner or later finished."""

    @property
    def result(self) -> Any:
        """The job's document, as last heard of: ``url``, ``status`` and, once finished, the service's answer."""
        return self.representation

    @property
    def finished(self) -> bool:
        """Whether the document holds an answer or an error."""
        return bool(self.status != ACCEPTED)

    def wait(self, seconds: float = JOB_SECONDS) -> Job:
        """This job, finished. Raises `StillRunning` when it is not within ``seconds``."""
        until = time.monotonic() + seconds
        while not self.finished:
            left = until - time.monotonic()
            if left <= 0:
                raise StillRunning(f"the job is not finished after {seconds:g} s: {self.endpoint}")
            self.representation = self.conf.ask("GET", self.endpoint, headers=hold(left, self.conf.timeout))
        return self

    def cancel(self) -> Any:
        """End the job unless it has ended; the document that it came to."""
        self.representation = self.conf.ask("DELETE", self.endpoint)
        return self.representation

    def parse(self, kind: type[T]) -> T:
        """The answer as one of the dataclasses of `angus.results`."""
        return results.parse(kind, self.representation)


class Session:
    """What ties requests together: frames of one camera, chunks of one sound."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self.id = str(uuid.uuid4())

    def state(self) -> dict[str, str]:
        """The parameter ``state`` of the requests that belong to it."""
        return {"session_id": self.id}


class Processor(Resource):
    """What services and composites have in common: parameters, sessions, and jobs one after the other or side by side."""

    def __init__(self, parent: Optional[str], name: str, representation: Any = None, conf: Optional[Configuration] = None) -> None:
        super().__init__(parent, name, representation, conf)
        self.default_session: Optional[Session] = None
        self.session_parameters: Optional[dict[str, Any]] = None

    def create_session(self) -> Session:
        """A session to give to `process`."""
        return Session(self)

    def enable_session(self, parameters: Optional[Mapping[str, Any]] = None) -> None:
        """From now on requests belong to one session, and ``parameters`` (an ``album``, …) go with each of them."""
        if self.default_session is None:
            self.default_session = self.create_session()
        self.session_parameters = frozen(parameters)

    def disable_session(self) -> None:
        """From now on each request stands alone again."""
        self.default_session = None
        self.session_parameters = None

    def _completed(self, parameters: Optional[Mapping[str, Any]], session: Optional[Session]) -> dict[str, Any]:
        """The parameters with those of the session and its state."""
        session = session or self.default_session
        state = {} if session is None else {"state": session.state()}
        return {**(parameters or {}), **(self.session_parameters or {}), **state}

    def _enqueue(self, call: Callable[[], T], completed: Mapping[str, Any]) -> Future[T]:
        lane = completed.get("state", {}).get("session_id")
        return self.conf.lanes.submit(call, None if lane is None else f"{self.endpoint} {lane}")


class Service(Processor):
    """One version of a service."""

    def __init__(self, parent: Optional[str], name: str, representation: Any = None, conf: Optional[Configuration] = None) -> None:
        super().__init__(parent, name, representation, conf)
        self.description = Resource(None, self.endpoint, conf=self.conf)
        self.jobs = Collection(self.endpoint, "jobs", conf=self.conf)
        self.streams = Collection(self.endpoint, "streams", conf=self.conf)

    def process(
        self,
        parameters: Optional[Mapping[str, Any]] = None,
        async_: bool = False,
        session: Optional[Session] = None,
        *,
        wait: Optional[float] = None,
        idempotency_key: Optional[str] = None,
        **others: Any,
    ) -> Job:
        """The job, finished; with ``async_`` (the third name of it is ``**{"async": True}``) as soon as the server has it safe.

        ``wait``: instead of either, the job as it is after so many seconds. ``idempotency_key``: the same key with the same
        parameters is the same job; by default each call has its own. Raises `ApiError`, `Unreachable`, `StillRunning`.
        """
        asynchronous = asynchronous_of(async_, others)
        completed = self._completed(parameters, session)
        headers = {} if wait is None else {"Prefer": f"wait={max(0, round(wait))}"}
        body = body_of(completed if wait is not None else {**completed, "async": asynchronous})
        job = self.jobs._made(body, Job, idempotency_key or new_key(), headers)
        return job if asynchronous or wait is not None else _settled(job)

    def process_async(
        self, parameters: Optional[Mapping[str, Any]] = None, async_: bool = False, session: Optional[Session] = None, **others: Any
    ) -> Future[Job]:
        """The future of what `process` returns. Blocks while 20 calls are under way.

        Calls of one session are sent one after the other, so that its frames keep their order; others side by side.
        """
        asynchronous = asynchronous_of(async_, others)
        completed = frozen(self._completed(parameters, session))
        return self._enqueue(lambda: self._send(completed, asynchronous), completed)

    def _send(self, completed: Mapping[str, Any], asynchronous: bool) -> Job:
        job = self.jobs._made(body_of({**completed, "async": asynchronous}), Job, new_key())
        return job if asynchronous else _settled(job)

    def get_description(self) -> Any:
        """The service's document: what it is, and the JSON Schemas of what it takes and answers."""
        return self.description.fetch()

    def stream(
        self, parameters: Optional[Mapping[str, Any]] = None, data: Iterable[Frame] = (), session: Optional[Session] = None
    ) -> Iterator[str]:
        """Send frames as ``data`` brings them; the answers as JSON texts, in order.

        A frame is (its own parameters, the name of the field that it is, bytes). See `angus.client.streams.stream`.
        """
        from angus.client.streams import stream

        return stream(self, self._completed(parameters, session), data)


def _settled(job: Job) -> Job:
    """The finished job. Raises `ApiError` when it failed after the server let go of the request, as it would have before."""
    status = job.wait().status
    if isinstance(status, int) and status >= 400:
        raise ApiError(status, job.result)
    return job


#: The parameters of a frame, the name of the field that it is, its bytes.
Frame = tuple[Mapping[str, Any], str, bytes]


class GenericService(Collection):
    """A service in all its versions."""

    def get_service(self, version: Optional[object] = None, service_class: Callable[..., Any] = Service) -> Any:
        """One version of it, by default the highest. Raises `NoSuchService`."""
        url = version_url(self.conf.default_root or self.endpoint, self.name, self.list({"version": version}), version)
        return service_class(self.endpoint, url, conf=self.conf)


def asynchronous_of(async_: bool, others: Mapping[str, Any]) -> bool:
    """The flag under both its names: ``async`` became a word of the language in Python 3.7. Raises `TypeError` for other names."""
    unknown = set(others) - {"async"}
    if unknown:
        raise TypeError(f"unexpected keyword argument {sorted(unknown)[0]!r}")
    return bool(others.get("async", async_))
