"""What is asked of a service: the keys that all of them take, the request, and the request once validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from accounts.credentials import Tenant
from gateway.http.parsing import Document
from gateway.jobs.files import RequestFiles
from webhooks.egress import MOST_CHARACTERS
from workers.catalog import ServiceType
from workers.contract import invalid_parameter


class State(BaseModel):
    """What a client keeps to tie its requests together."""

    model_config = ConfigDict(extra="ignore")

    session_id: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
        description="Chosen by the client, private to its credentials",
    )


class Webhook(BaseModel):
    """Where the news of the job's end goes."""

    model_config = ConfigDict(extra="ignore")

    url: str = Field(
        min_length=1,
        max_length=MOST_CHARACTERS,
        description="An https:// address that takes the job's document by POST",
    )


class Envelope(BaseModel):
    """The keys that every service takes beside its own."""

    model_config = ConfigDict(extra="ignore")

    asynchronous: bool | None = Field(
        None,
        alias="async",
        strict=True,
        description="Answer at once and compute later; true unless given",
    )
    state: State | None = Field(None, description="The session that this request belongs to")
    webhook: Webhook | None = Field(
        None,
        description="Who is told when the job has ended; signed as Standard Webhooks has it",
    )
    explain: bool = Field(False, strict=True, description="Tell how the answer was made")


ENVELOPE_KEYS = frozenset(field.alias or name for name, field in Envelope.model_fields.items())


#: Entered with the job's identifier while its frame is numbered: it keeps a stream's frames in their order.
Place = Callable[[str], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a service, parsed and not yet validated.

    ``lasts``: its deadline in seconds, unless the settings' is meant.
    """

    tenant: Tenant
    service: ServiceType
    document: Document
    base_url: str
    idempotency_key: str | None = None
    lasts: float | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A validated request on its way to becoming a job."""

    request: Request
    parameters: Mapping[str, Any]
    envelope: Envelope
    files: RequestFiles
    ignored: tuple[str, ...] = field(default=())


def read_envelope(parameters: Mapping[str, Any]) -> Envelope:
    """The common keys of a request. Raises `InvalidParameter`."""
    try:
        return Envelope.model_validate(parameters)
    except ValidationError as error:
        raise invalid_parameter(error) from None
