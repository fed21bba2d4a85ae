"""Which stream of frames a request means, and whether it may.

An identifier says by itself whether it was given to this tenant for this service, like a job's. What the stream was begun
with, and whether it goes on, is in the store, so that any gateway can serve it.
"""

from __future__ import annotations

import os
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from accounts.credentials import Tenant
from gateway.jobs.requests import State
from gateway.state import GATE, Gate, base_url, service_of
from shared.errors import ForeignOrigin, InvalidParameter, NotFound, PerceptionError, StreamEnded, Unauthorized
from shared.jobs import owner_of
from shared.ports import StreamView
from workers.catalog import ServiceType
from workers.contract import File, Sample, invalid_parameter

#: Of a store's words for an end, those that somebody asked for.
FINISHED, DELETED = "finished", "deleted"
#: A stream that is read from there on tells how it is, and none of its frames.
NOTHING_AFTER = 2**53
_NUMBER = re.compile(r"\d{1,15}")


class StreamOptions(BaseModel):
    """How a stream of frames behaves: the key ``stream`` of what makes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    live: bool = Field(
        False, strict=True, description="The newest frame wins: one that comes while enough are under way replaces the one that waits"
    )
    window: int | None = Field(
        None, gt=0, strict=True, description="Most frames under way at a time; the settings bound it and say what it is unless given"
    )
    data_field: str | None = Field(
        None, max_length=100, description="The parameter that a frame's bytes are for; by default the service's picture or sound"
    )


class _Given(BaseModel):
    """The key as it stands in a request, so that what is wrong in it is named from there."""

    stream: StreamOptions


class About(BaseModel):
    """What a stream was begun with."""

    parameters: dict[str, Any] = Field(description="Parameters of every frame, unless the frame says otherwise")
    session_id: str = Field(description="The session of its frames")
    options: StreamOptions = Field(description="How it behaves")


@dataclass(frozen=True, slots=True)
class FrameStream:
    """A stream as a request sees it. ``base_url``: what absolute URLs in its answers start with."""

    id: str
    tenant: Tenant
    service: ServiceType
    base_url: str
    about: About

    @property
    def service_url(self) -> str:
        return f"{self.base_url}/services/{self.service.name}/{self.service.version}"

    @property
    def url(self) -> str:
        return f"{self.service_url}/streams/{self.id}"

    @property
    def job_owner(self) -> str:
        return owner_of(self.tenant.id, self.service.name, self.service.version)


def stream_owner(tenant: str, service: ServiceType) -> str:
    """What the identifier of a stream is bound to; no tenant's jobs have such an owner."""
    return f"stream {owner_of(tenant, service.name, service.version)}"


def options_of(given: object) -> StreamOptions:
    """The options in the key ``stream`` of what makes a stream. Raises `InvalidParameter`."""
    try:
        return _Given.model_validate({"stream": given}).stream
    except ValidationError as error:
        raise invalid_parameter(error) from None


def default_data_field(service: ServiceType) -> str | None:
    """The one picture or sound that the service takes; None when there is none, or a choice."""
    names = [name for name in service.input_type.model_fields if is_file(service, name)]
    return names[0] if len(names) == 1 else None


def is_file(service: ServiceType, name: str) -> bool:
    """Whether a parameter of the service is a picture or a sound, as opposed to a value or a sample."""
    field = service.input_type.model_fields.get(name)
    kind = None if field is None else field.annotation
    return isinstance(kind, type) and issubclass(kind, File) and not issubclass(kind, Sample)


async def find_stream(request: web.Request, tenant: Tenant) -> tuple[FrameStream, StreamView]:
    """The stream that the address names and how it is, ended or not. Raises `NotFound`, `StreamEnded` once it is forgotten."""
    gate, service = request.app[GATE], service_of(request, tenant)
    stream_id = request.match_info["id"]
    if gate.ids.read(stream_id, stream_owner(tenant.id, service)) is None:
        raise NotFound("there is no such stream")
    view = await gate.stores.streams.read(stream_id, NOTHING_AFTER)
    if view is None:
        raise StreamEnded("the stream has ended and is forgotten; make another")
    return FrameStream(stream_id, tenant, service, base_url(request), About.model_validate_json(view.about)), view


async def find_going(request: web.Request, tenant: Tenant) -> tuple[FrameStream, StreamView]:
    """As `find_stream`, for those who want to send. Raises `StreamEnded` when it takes no more frames."""
    stream, view = await find_stream(request, tenant)
    if view.over:
        raise end_of(view, request.app[GATE])
    return stream, view


def end_of(view: StreamView | None, gate: Gate) -> PerceptionError:
    """Why a stream that is over has ended."""
    if view is not None and view.ended == FINISHED:
        return StreamEnded("its sender has finished the stream")
    if view is not None and view.ended == DELETED:
        return StreamEnded("the stream was deleted")
    return StreamEnded(f"the stream ended, since no frame came for {gate.settings.session_seconds:g} s; make another")


def after_of(request: web.Request, view: StreamView, otherwise: int) -> int:
    """The number of the last frame whose answer the reader has: one that there was. Raises `InvalidParameter`."""
    given = request.query.get("after")
    if given is None:
        return otherwise
    if not _NUMBER.fullmatch(given):
        raise InvalidParameter("after: must be the number of a frame", parameter="after")
    return min(int(given), view.count)


# Tickets: a page cannot send credentials when it opens a WebSocket


def make_ticket(gate: Gate, stream: FrameStream) -> str:
    """What opens a WebSocket of the stream once, soon, without credentials."""
    tenant = urlsafe_b64encode(orjson.dumps((stream.tenant.id, stream.tenant.fingerprint))).decode().rstrip("=")
    return f"{tenant}.{gate.ids.make(_ticket_owner(tenant, stream.id), synchronous=False)}"


async def redeem_ticket(request: web.Request, ticket: str) -> Tenant:
    """The tenant that the ticket was made for. Raises `Unauthorized` for one that is used, too old, or no ticket."""
    gate = request.app[GATE]
    whose, _, number = ticket.partition(".")
    ref = gate.ids.read(number, _ticket_owner(whose, request.match_info["id"]))
    if ref is None or not -1.0 <= time.time() - ref.created <= gate.settings.stream_ticket_seconds:
        raise _no_ticket(gate)
    tenant = await gate.authenticate.current(*orjson.loads(urlsafe_b64decode(whose + "=" * (-len(whose) % 4))))
    mine = os.urandom(8).hex()
    # (a key that no request can have, since an Idempotency-Key has no blanks)
    used, _ = await gate.stores.idempotency.claim(tenant.id, f"ticket {number}", mine, "")
    if used != mine:
        raise _no_ticket(gate)
    return tenant


def _ticket_owner(whose: str, stream_id: str) -> str:
    """What a ticket's number is bound to: nobody else's number makes the rest of a ticket be believed."""
    return f"ticket {stream_id} {whose}"


def _no_ticket(gate: Gate) -> Unauthorized:
    return Unauthorized(f"The ticket is not valid: it opens one WebSocket, within {gate.settings.stream_ticket_seconds:g} s")


def refuse_foreign_page(request: web.Request, gate: Gate) -> None:
    """Raise `ForeignOrigin` when a page of another origin opens a WebSocket: a browser would add credentials that it remembers."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return
    allowed = [known.strip().rstrip("/").lower() for known in gate.settings.stream_origins.split(",")]
    if "*" in allowed or origin.lower() in allowed:
        return
    try:
        host = urlsplit(origin).netloc.lower()
    except ValueError:
        host = ""
    if not host or host not in (request.host.lower(), urlsplit(base_url(request)).netloc.lower()):
        raise ForeignOrigin("pages of this origin may not open streams here; SENSORIUM_STREAM_ORIGINS allows it")


def session_of(given: State | None, stream_id: str) -> str:
    """The session of a stream's frames: the one that its maker named, or its own."""
    return stream_id if given is None else given.session_id
