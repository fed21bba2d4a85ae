"""A visit: what is kept of a person whom a camera saw. Numbers about behaviour; no picture, no face, no embedding.

On the wire a visit is one JSON object with the stream that it belongs to.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import orjson

#: The queue from the workers to the recorder.
VISITS = "visits"

Gender = Literal["female", "male"]
Direction = Literal["unknown", "up", "right", "left", "down"]
_GENDERS, _DIRECTIONS = ("female", "male"), ("unknown", "up", "right", "left", "down")


class UndecodableVisit(ValueError):
    """The bytes are not a visit of a version that this process reads."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One person's stay in front of one camera. Times by the camera's clock, in seconds.

    ``id``: the entity's, a UUID made of nothing but chance. ``started``: since 1970, when the person was first seen.
    ``view_seconds``: from then to when the person was last seen. ``stop_seconds``: standing still. ``attention_seconds``: looking at the
    camera. ``age`` in years and ``gender`` are None while nothing is known; ``happiness`` (0..1, the mean over the frames
    with a face) is None if there was none. ``closed``: the person has left; before that the record is provisional, and one
    with more ``view_seconds`` replaces it.
    """

    id: str
    started: float
    view_seconds: float
    stop_seconds: float = 0.0
    attention_seconds: float = 0.0
    age: float | None = None
    gender: Gender | None = None
    happiness: float | None = None
    direction: Direction = "unknown"
    closed: bool = False

    def encode(self, stream: str) -> bytes:
        """The message that tells the recorder of it; ``stream`` is the client_id of the camera's credentials."""
        return orjson.dumps({"v": 1, "stream": stream, **asdict(self)})


def decode_visit(body: bytes) -> tuple[str, Visit]:
    """(stream, visit) that `Visit.encode` wrote. Raises `UndecodableVisit` for anything else; unknown keys are ignored."""
    try:
        given = orjson.loads(body)
        if given["v"] != 1:
            raise UndecodableVisit("a visit of another version")
        visit = Visit(**{field.name: given[field.name] for field in fields(Visit)})
        stream = given["stream"]
    except (KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise UndecodableVisit(f"not a whole visit: {type(error).__name__}") from error
    if not isinstance(stream, str) or not _is_sound(visit):
        raise UndecodableVisit("a visit with values that no visit has")
    return stream, visit


def _is_sound(visit: Visit) -> bool:
    seconds = (visit.started, visit.view_seconds, visit.stop_seconds, visit.attention_seconds)
    maybe = (visit.age, visit.happiness)
    return (
        isinstance(visit.id, str)
        and all(_is_number(value) and value >= 0 for value in seconds)
        and all(value is None or (_is_number(value) and value >= 0) for value in maybe)
        and visit.gender in (None, *_GENDERS)
        and visit.direction in _DIRECTIONS
        and isinstance(visit.closed, bool)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
