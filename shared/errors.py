"""Every way a job can fail, as types.

An error carries its facts: ``code`` (what programs test), ``retryable`` (whether the same job may succeed later) and a
docstring that is its explanation. The table from code to HTTP status lives in ``gateway/http/problem.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class PerceptionError(Exception):
    """The job could not be done."""

    code: ClassVar[str] = "service_failed"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, parameter: str | None = None, retry_after: float | None = None) -> None:
        """``parameter`` names the input at fault, ``retry_after`` (seconds) says when trying again makes sense."""
        self.message = message or (self.__doc__ or self.code).strip().splitlines()[0]
        self.parameter = parameter
        self.retry_after = retry_after
        super().__init__(self.message)


class ServiceFailed(PerceptionError):
    """The service failed on this input; the failure was recorded."""

    code = "service_failed"


class InvalidParameter(PerceptionError):
    """A parameter is missing, misspelt or has a value outside its range."""

    code = "invalid_parameter"


class MalformedRequest(PerceptionError):
    """The request is not well-formed JSON or multipart."""

    code = "malformed_request"


class UnreadableInput(PerceptionError):
    """The file is not of a format that the service reads."""

    code = "unreadable_input"


class InputTooLarge(PerceptionError):
    """The input is beyond a stated limit."""

    code = "input_too_large"


class UnsupportedEncoding(PerceptionError):
    """Compressed request bodies and other media types are not accepted."""

    code = "unsupported_encoding"


class Unauthorized(PerceptionError):
    """The credentials are missing or not valid."""

    code = "unauthorized"


class TokenRefused(PerceptionError):
    """The token for the data API is missing, wrong or no longer valid."""

    code = "token_refused"


class SignedOut(PerceptionError):
    """This page of the console is for whoever is signed in."""

    code = "signed_out"


class ForgedRequest(PerceptionError):
    """The request did not come from a page of this console."""

    code = "forged_request"


class ForeignOrigin(PerceptionError):
    """Pages of this origin may not do this here."""

    code = "foreign_origin"


class NotFound(PerceptionError):
    """There is nothing at this address for these credentials."""

    code = "not_found"


class MethodNotAllowed(PerceptionError):
    """This address does not take this method."""

    code = "method_not_allowed"


class RequestTimeout(PerceptionError):
    """The request did not arrive in time."""

    code = "request_timeout"


class ResultExpired(PerceptionError):
    """The result was kept for its stated time and is gone."""

    code = "result_expired"


class ResultLost(PerceptionError):
    """The job passed its deadline and no result of it is stored."""

    code = "result_lost"


class BlobGone(PerceptionError):
    """A blob that the job refers to was deleted before the job ran."""

    code = "blob_gone"


class IdempotencyConflict(PerceptionError):
    """The same Idempotency-Key came with a different request."""

    code = "idempotency_conflict"


class QuotaExceeded(PerceptionError):
    """The stream's plan is used up until it is renewed."""

    code = "quota_exceeded"
    retryable = True
    #: Header fields that tell the same to programs.
    fields: Mapping[str, str] = MappingProxyType({})


class RateLimited(PerceptionError):
    """Too many requests in too short a time."""

    code = "rate_limited"
    retryable = True


class Cancelled(PerceptionError):
    """The job was cancelled by its caller."""

    code = "cancelled"


class NotRequeueable(PerceptionError):
    """The dead job cannot be put back into its queue."""

    code = "not_requeueable"


class DeadlineExceeded(PerceptionError):
    """The job was not done by its deadline."""

    code = "deadline_exceeded"
    retryable = True


class FrameSkipped(PerceptionError):
    """The session had gone on without this frame when its turn came."""

    code = "frame_skipped"


class StreamEnded(PerceptionError):
    """The stream of frames has ended; make another with POST …/streams."""

    code = "stream_ended"


class StreamTaken(PerceptionError):
    """Another connection, a newer one, sends the frames of this stream now."""

    code = "stream_taken"


class SlowReader(PerceptionError):
    """The answers of the stream were read more slowly than they were made, and more of them waited than are kept."""

    code = "slow_reader"


class Unavailable(PerceptionError):
    """Something that the job needs is away for the moment; the same job may succeed later."""

    code = "unavailable"
    retryable = True


class QueueFull(Unavailable):
    """The queue of this service is full."""

    code = "queue_full"


class BrokerAway(Unavailable):
    """The message broker does not answer, so nothing can be accepted safely."""

    code = "broker_away"


class StoreAway(Unavailable):
    """The store of results and sessions does not answer."""

    code = "store_away"


class Stopping(Unavailable):
    """This gateway is going down; connect again, the stream goes on at another or when it is back."""

    code = "stopping"


class NoWorker(Unavailable):
    """No worker serves this service; start one with: sensorium worker NAME."""

    code = "no_worker"


class ModelMissing(Unavailable):
    """The weights of a model are not installed; install them with: sensorium models pull."""

    code = "model_missing"


class ModelCorrupt(Unavailable):
    """The file of a model is not the one in the manifest; repair it with: sensorium models pull."""

    code = "model_corrupt"


class DeviceMissing(Unavailable):
    """The device asked for is not usable on this machine; there is no silent fall-back to another."""

    code = "device_missing"


def error_types() -> dict[str, type[PerceptionError]]:
    """Every concrete error by its code."""
    found: dict[str, type[PerceptionError]] = {}
    waiting = [PerceptionError]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if kind is not PerceptionError:
            found.setdefault(kind.code, kind)
    return found
