"""A connection to the server, and the directory of its services."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Optional

import httpx

from angus._core.attempts import Attempts
from angus._core.composing import Named, native_for
from angus._core.documents import available, child, document_of, same_or_safer, service_url, version_url
from angus._core.requests import Body
from angus._core.transport import timeouts, tls
from angus.aio.composite import CompositeService
from angus.aio.resources import Blobs, Service
from angus.retries import Retries


class Connection:
    """The server's root: ``blobs`` and ``services``. Use it with ``async with``, or `close` it."""

    def __init__(
        self, root: str, credentials: Optional[tuple[str, str]], ca_path: Optional[str], timeout: Optional[float], retries: Retries
    ) -> None:
        """``credentials``: (client_id, access_token) of a stream. Raises `ConfigurationError` for a ``ca_path`` without certificates."""
        self.root = root
        self.credentials = credentials
        self.verify = tls(ca_path or True)
        self.timeout = timeout
        self.retries = retries
        self.blobs = Blobs(self)
        self.services = Services(self)
        auth = None if credentials is None else httpx.BasicAuth(*credentials)
        self._client = httpx.AsyncClient(auth=auth, timeout=timeouts(timeout), verify=self.verify)

    async def ask(
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
        same_or_safer(self.root, url)
        attempts = Attempts(self.retries, url, safe=method != "POST", key=key)
        given = {"headers": {}} if body is None else body.arguments()
        while True:
            sent = {**given, "headers": {**given["headers"], **(headers or {}), **attempts.headers()}}
            pause: Optional[float]
            try:
                response = await self._client.request(method, url, params=params, **sent)
            except httpx.TransportError as error:
                pause = attempts.failed(error)
            else:
                pause = attempts.answered(response)
                if pause is None:
                    return document_of(response.status_code, response.headers, response.content, url)
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Services:
    """The services that there are."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.endpoint = child(connection.root, "services")

    async def list(self, filters: Optional[Mapping[str, Any]] = None) -> dict[str, Any]:
        """The directory, by default all of it."""
        return await self._connection.ask("GET", self.endpoint, params=filters)

    async def get_service(self, name: str, version: Optional[object] = None) -> Service:
        """A service by its name, in the given version or the highest. Raises `NoSuchService`, `ApiError`, `Unreachable`."""
        root = self._connection.root
        url = service_url(root, await self.list({"name": name}), name)
        versions = await self._connection.ask("GET", url, params={} if version is None else {"version": version})
        return Service(self._connection, name, version_url(root, name, versions, version))

    async def get_services(self, services: Optional[Iterable[Named]] = None) -> CompositeService:
        """Several services to ask together, by names or (name, version); by default all that can be asked now."""
        there = available(await self.list())
        native = await (await self.get_service("composite")).get_description() if "composite" in there else {}
        chosen: Iterable[Named] = [name for name in there if name != "composite"] if services is None else list(services)
        pairs = [named if isinstance(named, tuple) else (named, None) for named in chosen]
        found = await asyncio.gather(*(self.get_service(name, version) for name, version in pairs))
        parts = {name: service for (name, _), service in zip(pairs, found)}
        return CompositeService(self._connection, parts, native_for(native, pairs))
