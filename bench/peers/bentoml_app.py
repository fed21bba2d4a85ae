"""`face_detection` on BentoML: `bentoml serve bentoml_app:Faces --port PORT`.

Choices, in the peer's favour where there was one:
* Two worker processes (`workers=2`), one thread and one session each.
* No adaptive batching: a batch of YuNet costs more than single images on a CPU, and a call alone does not go through its dispatcher.
* No access log, no metrics, no tracing: less work than the default.
* The upload is multipart, as in the system it is compared with. No authentication, no metering, no broker.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType
from yunet import Detector


@bentoml.service(
    workers=2,
    threads=1,
    traffic={"timeout": 30},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"sample_rate": 0.0},
)
class Faces:
    """One worker process with a session of its own."""

    def __init__(self) -> None:
        self.detector = Detector(os.environ["BENCH_MODEL"])

    @bentoml.api
    def detect(self, image: Annotated[Path, ContentType("image/jpeg")]) -> dict[str, Any]:
        """Decode, detect, answer."""
        return self.detector.answer(image.read_bytes())
