"""A job as the outside sees it once it has ended: the same document by every way of asking."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from gateway.http.problem import status_of
from shared.errors import PerceptionError, ResultExpired, ResultLost
from shared.events import Done, Event, Failed, Requeued
from shared.job_ids import JobRef
from shared.settings import Settings

#: A job whose deadline passed this long ago, in seconds, and the time of a batch before that, has said all that it will ever say: a
#: worker may have begun with it at the last moment, and then ends it, however late.
_SILENT_AFTER = 10.0


def job_document(url: str, ref: JobRef, event: Event) -> dict[str, Any]:
    """A finished job as every way of asking gives it. ``event`` is its final one."""
    if isinstance(event, Failed):
        error = event.error()
        failure = {"url": url, "status": status_of(error.code), "error": error.message, "code": error.code}
        return failure if error.parameter is None else {**failure, "parameter": error.parameter}
    result = event.result if isinstance(event, Done) else {}
    return {"url": url, "status": 201 if ref.synchronous else 200, **result}


def expired_or_lost(ref: JobRef, events: Sequence[Event], settings: Settings) -> PerceptionError | None:
    """Why an unfinished job will say no more. It waits until its time is over, which begins anew when it is requeued; then its result
    expired or was lost."""
    age = time.time() - max([ref.created, *(event.at for event in events if isinstance(event, Requeued))])
    if age > settings.result_seconds:
        return ResultExpired(f"results are kept for {settings.result_seconds:g} s; this one is gone")
    return ResultLost() if age > settings.deadline_seconds + settings.process_seconds + _SILENT_AFTER else None
