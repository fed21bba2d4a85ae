"""What is said in each form of the wire, with every field filled in; what it reads like, and its bytes as this version writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.events import Chunk, Done, Failed, Requeued, Started, decode_event
from shared.facts import DeadLetter, ServedFacts, WorkerFacts, decode_letter, decode_worker
from shared.jobs import Job, Turn, decode_job
from shared.visits import Visit, decode_visit

HERE = Path(__file__).parent
AT = 1_700_000_000.25


@dataclass(frozen=True)
class Said:
    """A value, its bytes, and who reads them."""

    value: Any
    encoded: bytes
    decode: Callable[[bytes], Any]


_JOB = Job(
    id="SJ0000000000000000000000",
    service="scene_analysis",
    version=1,
    tenant="5f2b1c3a-0000-4000-8000-000000000001",
    created=AT,
    deadline=AT + 300,
    parameters={"image": "attachment://frame", "sound": "/blobs/abc", "sensitivity": {"appearance": 0.9}, "text": "Grüße ☃"},
    files={"attachment://frame": bytes(range(256)), "attachment://other": b""},
    blobs={"/blobs/abc": "abc"},
    samples={"/blobs/face": "face"},
    turn=Turn("5f2b1c3a-0000-4000-8000-000000000001/scene_analysis.1/door", 17, True),
    explain=True,
    trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    off=("age", "gender"),
)
_VISIT = Visit("9d7e3c52-0000-4000-8000-000000000002", AT, 12.5, 4.25, 3.0, 37.5, "female", 0.75, "left", True)
_LETTER = DeadLetter(
    "SJ1", "job", "delivery_limit", AT, "scene_analysis", "scene_analysis", 1, "tenant", 3, 1234, "it is a frame of a session"
)
_WORKER = WorkerFacts(
    "w-1",
    "host-1",
    4711,
    "0.1.0",
    "cpu",
    2,
    AT,
    AT + 60,
    (ServedFacts("scene_analysis", 1, "scene_analysis", ("yunet",), 4, 0.5, 100, 101, 1, AT + 59, 9.5),),
)

SAID = {
    "job.bin": Said(_JOB, _JOB.encode(), decode_job),
    "visit.json": Said(("stream-1", _VISIT), _VISIT.encode("stream-1"), decode_visit),
    "letter.json": Said(_LETTER, _LETTER.encode(), decode_letter),
    "worker.json": Said(_WORKER, _WORKER.encode(), decode_worker),
    **{
        f"event.{event.type}.json": Said(event, event.encode(), decode_event)
        for event in (
            Started(AT, 2),
            Chunk(AT, {"part": 1}),
            Requeued(AT),
            Done(AT, {"faces": [{"roi": [1, 2, 3, 4]}], "text": "☃"}),
            Failed(AT, "invalid_parameter", "sensitivity must be at most 1", "sensitivity"),
        )
    },
}
