"""What only RabbitMQ's management API tells: messages in hand, and rates. Its plugin is part of 3.10 and of 4.

It is asked in a thread, by the standard library: one small request every few seconds is no reason for another HTTP client.
"""

from __future__ import annotations

import asyncio
import http.client
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
from yarl import URL

from shared.aio import SingleFlight
from shared.facts import QueueFacts
from shared.log import get_logger
from shared.ports import Depth
from shared.settings import Settings, SettingsError

log = get_logger(__name__)

_COLUMNS = "name,messages_unacknowledged,message_stats.publish_details.rate,message_stats.deliver_get_details.rate"
_MOST_QUEUES, _MOST_BYTES = 500, 4 << 20
NOT_ASKED = "RabbitMQ tells what is in hand and how fast messages flow over its management API only: set SENSORIUM_BROKER_MANAGEMENT"


@dataclass(frozen=True, slots=True)
class Told:
    """What the API says of a queue; None for what it does not (yet) say, since it collects its statistics every few seconds."""

    unacknowledged: int | None = None
    published_rate: float | None = None
    delivered_rate: float | None = None

    def of(self, depth: Depth) -> QueueFacts:
        return QueueFacts(depth.ready, depth.consumers, self.unacknowledged, self.published_rate, self.delivered_rate)


class Management:
    """The API of one broker, or none."""

    def __init__(self, url: URL | None, path: str, login: str, seconds: float) -> None:
        """``path``: what is asked for; ``login``: user and password, separated by a colon; ``seconds`` bounds an answer."""
        self._url, self._path, self._seconds = url, path, seconds
        self._headers = {"Authorization": "Basic " + b64encode(login.encode()).decode(), "Accept": "application/json"}
        self._asking: SingleFlight[None, bytes] = SingleFlight()
        self._gap: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Management:
        """The API of ``settings.broker_management``. Raises `SettingsError` for an address that is none."""
        broker = URL(settings.broker)
        path = f"/api/queues/{quote(broker.path[1:] or '/', safe='')}?page=1&page_size={_MOST_QUEUES}&pagination=true"
        path += f"&use_regex=true&name=%5E{quote(settings.namespace)}%5C.&columns={_COLUMNS}"
        if settings.broker_management is None:
            return cls(None, path, "", settings.management_seconds)
        url = URL(settings.broker_management)
        if url.scheme not in ("http", "https") or url.host is None:
            raise SettingsError("SENSORIUM_BROKER_MANAGEMENT: http://user:password@host:15672 or https://…")
        known = url if url.user is not None else broker
        path = url.path.rstrip("/") + path
        return cls(url, path, f"{known.user or 'guest'}:{known.password or 'guest'}", settings.management_seconds)

    async def tell(self) -> tuple[Mapping[str, Told], str | None]:
        """(what is told of each queue, by its full name; why nothing is told, or None)."""
        if self._url is None:
            return {}, NOT_ASKED
        try:
            told = _read(await self._answer())
        except (OSError, http.client.HTTPException, ValueError, TypeError, AttributeError, KeyError) as error:
            gap = f"RabbitMQ's management API at {self._url.host}:{self._url.port} cannot be asked: {error or type(error).__name__}"
            if self._gap is None:
                log.warning("broker.management_away", reason=gap)
            self._gap = gap
            return {}, gap
        self._gap = None
        return told, None

    async def _answer(self) -> bytes:
        """A thread cannot be given up: while one waits for an answer that is late, no second one is sent after it."""
        limit = asyncio.timeout(self._seconds)
        try:
            async with limit:
                return await self._asking.do(None, lambda: asyncio.to_thread(self._get))
        except TimeoutError:
            if not limit.expired():
                raise  # the socket's own
            raise TimeoutError(f"no answer within {self._seconds:g} s") from None

    def _get(self) -> bytes:
        assert self._url is not None  # noqa: S101 - `tell` saw to it
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.host or "", self._url.port, timeout=self._seconds)
        try:
            connection.request("GET", self._path, headers=self._headers)
            response = connection.getresponse()
            body = response.read(_MOST_BYTES)
        finally:
            connection.close()
        if response.status != 200:
            hint = "; its user needs the tag monitoring" if response.status in (401, 403) else ""
            raise OSError(f"it answers {response.status} {response.reason}{hint}")
        return body


def _read(body: bytes) -> dict[str, Told]:
    return {item["name"]: _told(item) for item in orjson.loads(body)["items"]}


def _told(item: Mapping[str, Any]) -> Told:
    flow = item.get("message_stats") or {}
    return Told(item.get("messages_unacknowledged"), _rate(flow, "publish"), _rate(flow, "deliver_get"))


def _rate(flow: Mapping[str, Any], name: str) -> float | None:
    details = flow.get(f"{name}_details") or {}
    rate = details.get("rate")
    return None if rate is None else float(rate)
