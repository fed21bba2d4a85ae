"""One request on its way from the gateway to a worker, and its bytes.

On the wire a job is a magic number, the length of a JSON header, the header, and the raw bytes of its inline files one
after the other: no base64, nothing that executes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from shared.privacy import Analysis, known_analyses

_MAGIC = b"SJ1\n"
_LENGTH_BYTES = 4
_NUMBER = (int, float)
#: The broker keeps an expired message this much longer than its deadline, in seconds, so that a worker may still say so itself.
EXPIRY_SLACK = 1.0


class UndecodableJob(ValueError):
    """The bytes are not a job of a version that this process reads."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A frame's place in its session.

    ``session`` is the scoped key (`session_key`), ``number`` counts from 1 in the order of acceptance, ``closing`` marks
    the last turn, which carries no input: it tells the service that the session ended.
    """

    session: str
    number: int
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One request as a worker sees it.

    ``parameters`` is the validated JSON of the request, in which files are references (``attachment://…`` or a blob's
    address); ``files`` holds the bytes of each inline one by reference, ``blobs`` the identifier of each stored one, and
    ``samples`` that of each blob which is fetched only when the service asks for it, and which need not be there.
    ``created`` and ``deadline`` are seconds since 1970 on the server's clock. ``off``: the analyses of people that the
    stream had switched off when the job was accepted.
    """

    id: str
    service: str
    version: int
    tenant: str
    created: float
    deadline: float
    parameters: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    blobs: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    turn: Turn | None = None
    explain: bool = False
    trace: str | None = None
    off: tuple[Analysis, ...] = ()

    def encode(self) -> bytes:
        header = {
            "id": self.id,
            "service": self.service,
            "version": self.version,
            "tenant": self.tenant,
            "created": self.created,
            "deadline": self.deadline,
            "parameters": self.parameters,
        }
        if self.files:
            header["files"] = [[reference, len(data)] for reference, data in self.files.items()]
        if self.blobs:
            header["blobs"] = self.blobs
        if self.samples:
            header["samples"] = self.samples
        if self.turn is not None:
            header["turn"] = [self.turn.session, self.turn.number, self.turn.closing]
        if self.explain:
            header["explain"] = True
        if self.trace is not None:
            header["trace"] = self.trace
        if self.off:
            header["off"] = self.off
        text = orjson.dumps(header)
        return b"".join((_MAGIC, len(text).to_bytes(_LENGTH_BYTES, "big"), text, *self.files.values()))


def decode_job(body: bytes) -> Job:
    """The job that `Job.encode` wrote. Raises `UndecodableJob` for anything else; unknown header keys are ignored."""
    start = len(_MAGIC) + _LENGTH_BYTES
    if body[: len(_MAGIC)] != _MAGIC or len(body) < start:
        raise UndecodableJob("no job begins here")
    end = start + int.from_bytes(body[len(_MAGIC) : start], "big")
    try:
        header = orjson.loads(body[start:end])
        turn = header.get("turn")
        job = Job(
            id=header["id"],
            service=header["service"],
            version=header["version"],
            tenant=header["tenant"],
            created=header["created"],
            deadline=header["deadline"],
            parameters=header["parameters"],
            files=_split_files(body, end, header.get("files", ())),
            blobs=header.get("blobs", {}),
            samples=header.get("samples", {}),
            turn=Turn(turn[0], turn[1], turn[2]) if turn else None,
            explain=header.get("explain", False),
            trace=header.get("trace"),
            off=_off_of(header.get("off", [])),
        )
        _check_types(job)
    except UndecodableJob:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise UndecodableJob(f"the header of the job is not readable: {type(error).__name__}") from error
    return job


def _off_of(names: object) -> tuple[Analysis, ...]:
    """Raises `TypeError` rather than take what is switched off for on."""
    if type(names) is not list:
        raise TypeError("a value of another type")
    return known_analyses(names)


def _check_types(job: Job) -> None:
    """Whoever calculates with a job trusts its types, and JSON has any. Raises `TypeError`."""
    if not (
        type(job.id) is type(job.service) is type(job.tenant) is str
        and type(job.version) is int
        and type(job.created) in _NUMBER
        and type(job.deadline) in _NUMBER
        and type(job.parameters) is type(job.blobs) is dict
        and type(job.explain) is bool
        and (job.trace is None or type(job.trace) is str)
    ):
        raise TypeError("a value of another type")
    if job.blobs and not all(type(blob) is str for blob in job.blobs.values()):
        raise TypeError("a blob that is no identifier")
    turn = job.turn
    if turn is not None and not (type(turn.session) is str and type(turn.number) is int and type(turn.closing) is bool):
        raise TypeError("a turn that is none")


def _split_files(body: bytes, start: int, sizes: list[tuple[str, int]]) -> dict[str, bytes]:
    files = {}
    for reference, size in sizes:
        files[reference] = body[start : start + size]
        if len(files[reference]) != size:
            raise UndecodableJob("the job was cut short")
        start += size
    if start != len(body):
        raise UndecodableJob("there is more than the job")
    return files


def owner_of(tenant: str, service: str, version: int) -> str:
    """What a job identifier is bound to."""
    return f"{tenant}/{service}.{version}"


def session_key(tenant: str, service: str, version: int, session_id: str) -> str:
    """The key of a session: private to the credential and to the service that keeps its state."""
    return f"{tenant}/{service}.{version}/{session_id}"


def queue_of(service: str, version: int) -> str:
    """The queue of a service: its name, with the version from the second on."""
    return service if version == 1 else f"{service}.{version}"


_JOB_FILE = "!"


def job_files_of(name: str) -> str:
    """The owner, or identifier, of a file that is stored beside a message instead of inside it and ends with the job.

    No tenant and no blob has ``!`` in its name, so these can be neither addressed nor listed from outside.
    """
    return _JOB_FILE + name


def is_job_file(blob_id: str) -> bool:
    return blob_id.startswith(_JOB_FILE)


def blob_place(tenant: str, blob_id: str) -> tuple[str, str]:
    """(owner, identifier) under which the blob store keeps a blob of a job."""
    return (job_files_of(tenant), blob_id.removeprefix(_JOB_FILE)) if is_job_file(blob_id) else (tenant, blob_id)


def parse_session_key(key: str) -> tuple[str, str, int, str]:
    """(tenant, service, version, session id) of a `session_key`. Raises `ValueError` for anything else."""
    tenant, service, session_id = key.split("/")
    name, _, version = service.rpartition(".")
    return tenant, name, int(version), session_id
