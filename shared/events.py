"""What is said about a job between the worker that does it and everybody who waits for it.

Waiting, polling, server-sent events, duplicates and cancelling all read the same list: any number of `Started` and
`Chunk`, then exactly one `Done` or `Failed`. Only an operator can make an ended job go on: its `Failed` then gives its place to
`Requeued`, and one more end follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from shared.errors import PerceptionError, ServiceFailed, error_types


@dataclass(frozen=True, slots=True)
class Event:
    """One thing said about a job. ``at`` is the server's clock, seconds since 1970."""

    type: ClassVar[str] = ""
    final: ClassVar[bool] = False

    at: float

    def encode(self) -> bytes:
        """The event as one JSON object, ASCII safe for any channel."""
        return orjson.dumps({"type": self.type, **{name: getattr(self, name) for name in self.__slots__}, "at": self.at})


@dataclass(frozen=True, slots=True)
class Started(Event):
    """A worker has been computing for a while: the job is long. Short jobs go straight to their end."""

    type: ClassVar[str] = "started"
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Chunk(Event):
    """A part of the result that is ready before the rest."""

    type: ClassVar[str] = "chunk"
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Requeued(Event):
    """The job had failed, and an operator put it back into its queue with a new deadline."""

    type: ClassVar[str] = "requeued"


@dataclass(frozen=True, slots=True)
class Done(Event):
    """The result, as the JSON object that the service answered."""

    type: ClassVar[str] = "done"
    final: ClassVar[bool] = True
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """The job ended without a result. ``code`` is one of `shared.errors`."""

    type: ClassVar[str] = "failed"
    final: ClassVar[bool] = True
    code: str = ServiceFailed.code
    message: str = ""
    parameter: str | None = None

    @classmethod
    def of(cls, error: PerceptionError, at: float) -> Failed:
        return cls(at, error.code, error.message, error.parameter)

    def error(self) -> PerceptionError:
        """The error that this event was made of, ready to be raised."""
        return error_types().get(self.code, ServiceFailed)(self.message, parameter=self.parameter)


_KINDS: dict[str, type[Event]] = {kind.type: kind for kind in (Started, Chunk, Requeued, Done, Failed)}


def decode_event(data: bytes | str) -> Event:
    """The event that `Event.encode` wrote. Raises `ValueError` for anything else."""
    fields = orjson.loads(data)
    try:
        kind = _KINDS.get(fields.pop("type"))
        if kind is None:
            raise ValueError("not an event that is known here")
        known = {"at", *kind.__slots__}
        return kind(**{name: value for name, value in fields.items() if name in known})
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("not a whole event") from error
