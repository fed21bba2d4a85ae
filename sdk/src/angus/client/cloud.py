"""The server's root: blobs, services, and several services asked as if they were one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Optional

from angus._core.attempts import new_key
from angus._core.composing import NATIVE, Named, combined, documents_of, native_for, unfinished
from angus._core.documents import available, service_url
from angus._core.requests import Body, body_of, frozen, is_file
from angus._core.transport import JOB_SECONDS
from angus.client import rest
from angus.errors import AngusError, ApiError, ConfigurationError

log = logging.getLogger("angus")

#: Services of a composite that are asked at a time.
SIDE_BY_SIDE = 8


class BlobDirectory(rest.Collection):
    """Files at the server, uploaded once and used in many requests."""

    def create(self, binary: Any, resource_type: Callable[..., Any] = rest.Resource) -> Any:
        """Upload a file: open in binary mode, bytes, a path, or a picture as an array. Raises `ApiError`, `Unreachable`."""
        return super().create({"content": binary}, resource_type)


class CompositeJob(rest.Job):
    """The jobs of several services on the same parameters. ``result`` has each service's document under its name."""

    @property
    def finished(self) -> bool:
        """Whether every service has finished."""
        return not unfinished(self.representation)

    def fetch(self) -> Any:
        """Ask anew for each that was not finished."""
        return self._each(lambda job: job.fetch())

    def wait(self, seconds: float = JOB_SECONDS) -> CompositeJob:
        """This job, with every service finished. Raises `StillRunning`."""
        self._each(lambda job: job.wait(seconds))
        return self

    def cancel(self) -> Any:
        """End those that have not ended."""
        return self._each(lambda job: job.cancel())

    def _each(self, act: Callable[[rest.Job], Any]) -> Any:
        jobs = {
            name: rest.Job(None, self.representation[name]["url"], self.representation[name], self.conf)
            for name in unfinished(self.representation)
        }
        for job in jobs.values():
            act(job)
        self.representation = combined({**documents_of(self.representation), **{name: job.result for name, job in jobs.items()}}.items())
        return self.representation


class CompositeService(rest.Processor):
    """Several services asked as if they were one: what is a file is uploaded once.

    Where the server has a service ``composite`` that does these, it is one request, and faces are looked for once.
    """

    def __init__(self, services: Mapping[str, rest.Service], root: Root, native: Optional[rest.Service] = None) -> None:
        super().__init__(None, "memory:///composite", conf=root.conf)
        self.services = dict(services)
        self.root = root
        self.native = native

    def process(
        self,
        parameters: Optional[Mapping[str, Any]] = None,
        async_: Any = False,
        session: Optional[rest.Session] = None,
        **others: Any,
    ) -> rest.Job:
        """A job whose ``result`` has each service's document under its name; that of a service that failed has ``error`` and ``status``.

        Raises `Unreachable`, and `ApiError` when no service could be asked at all.
        """
        if isinstance(async_, rest.Session):  # the second parameter was the session in 2018
            async_, session = False, async_
        return self._send(self._completed(parameters, session), rest.asynchronous_of(async_, others))

    def process_async(
        self, parameters: Optional[Mapping[str, Any]] = None, async_: bool = False, session: Optional[rest.Session] = None, **others: Any
    ) -> Future[rest.Job]:
        """The future of what `process` returns; blocks and keeps order as `rest.Service.process_async` does."""
        asynchronous = rest.asynchronous_of(async_, others)
        completed = frozen(self._completed(parameters, session))
        return self._enqueue(lambda: self._send(completed, asynchronous), completed)

    def _send(self, completed: Mapping[str, Any], asynchronous: bool) -> rest.Job:
        if self.native is not None:
            return self.native._send({**completed, "services": list(self.services)}, asynchronous)
        blobs: list[rest.Resource] = []
        uploaded = self._uploaded(completed, blobs)
        try:
            return self._one_by_one({**uploaded, "async": asynchronous})
        finally:
            if not asynchronous:
                for blob in blobs:
                    _forget(blob)

    def _uploaded(self, value: Any, blobs: list[rest.Resource]) -> Any:
        """The value with each file in it uploaded and replaced by its address."""
        if isinstance(value, Mapping):
            return {name: self._uploaded(inner, blobs) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._uploaded(inner, blobs) for inner in value]
        if not is_file(value):
            return value
        blobs.append(self.root.blobs.create(value))
        return blobs[-1].endpoint

    def _one_by_one(self, parameters: Mapping[str, Any]) -> CompositeJob:
        body = body_of(parameters)
        with ThreadPoolExecutor(min(len(self.services), SIDE_BY_SIDE) or 1, thread_name_prefix="angus-composite") as pool:
            documents = pool.map(lambda service: _document(service, body), self.services.values())
            job = CompositeJob(None, self.endpoint, combined(zip(self.services, documents)), self.conf)
        return job if parameters["async"] else job.wait()


class ServiceDirectory(rest.Collection):
    """The services that there are."""

    def get_service(self, name: str, version: Optional[object] = None, service_class: Callable[..., Any] = rest.Service) -> Any:
        """A service by its name, in the given version or the highest. Raises `NoSuchService`, `ApiError`, `Unreachable`."""
        url = service_url(self.conf.default_root or self.endpoint, self.list({"name": name}), name)
        return rest.GenericService(None, url, conf=self.conf).get_service(version, service_class)

    def get_services(self, services: Optional[Iterable[Named]] = None) -> CompositeService:
        """Several services to ask together, by names or (name, version); by default all that can be asked now."""
        there = available(self.list())
        chosen: Iterable[Named] = [name for name in there if name != NATIVE] if services is None else services
        pairs = [named if isinstance(named, tuple) else (named, None) for named in chosen]
        native = native_for(self.get_service(NATIVE).get_description(), pairs) if NATIVE in there else None
        parts = {name: self.get_service(name, version) for name, version in pairs}
        return CompositeService(parts, Root(None, self.conf), rest.Service(None, native, conf=self.conf) if native else None)


class Root(rest.Resource):
    """The server: ``blobs`` and ``services``."""

    def __init__(self, url: Optional[str] = None, conf: Optional[rest.Configuration] = None) -> None:
        """``url``: the server's address; by default that of the configuration. Raises `ConfigurationError` when neither has one."""
        if conf is None:
            from angus.client import get_default_configuration

            conf = get_default_configuration()
        if url is None:
            url = conf.default_root
        if not url:
            raise ConfigurationError('where is the server? Run angusme, or give its address: connect("http://127.0.0.1:8000")')
        conf.default_root = url
        super().__init__(None, url, conf=conf)
        self.blobs = BlobDirectory(self.endpoint, "blobs", conf=conf)
        self.services = ServiceDirectory(self.endpoint, "services", conf=conf)

    def close(self) -> None:
        """End the connections, after the calls under way."""
        self.conf.close()

    def __enter__(self) -> Root:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _document(service: rest.Service, body: Body) -> Any:
    """What a service answers, or why it does not. Raises `ApiError` for wrong credentials, which concern all services."""
    try:
        return service.jobs._made(body, rest.Job, new_key()).result
    except ApiError as error:
        if error.status == 401:
            raise
        return {"status": error.status, "error": error.message, "code": error.code}


def _forget(blob: rest.Resource) -> None:
    """Delete a blob that nobody needs any more; the server deletes one that stays when its time is over."""
    try:
        blob.delete()
    except AngusError as error:
        log.info("%s was not deleted: %s", blob.endpoint, error)
