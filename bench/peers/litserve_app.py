"""`face_detection` on LitServe: `python litserve_app.py PORT`.

Choices, in the peer's favour where there was one:
* One process takes requests and two processes work (`workers_per_device=2`), LitServe's way to use two cores; one thread a session.
* No batching: a batch of YuNet costs more than single images on a CPU.
* `fast_queue` (ZeroMQ) is a parameter; its default here is the faster one measured (see README.md).
* The upload is multipart, as in the system it is compared with; Starlette's form hands the file to the worker.
* No authentication, no metering, no broker.
"""

import os
import sys
from typing import Any

import litserve
from fastapi import Request
from yunet import Detector

WORKERS = 2


class Faces(litserve.LitAPI):
    """One worker process with a session of its own."""

    def setup(self, device: str) -> None:
        """Load the model once."""
        self.detector = Detector(os.environ["BENCH_MODEL"])

    def decode_request(self, request: Request) -> bytes:
        """The bytes of the picture out of the form."""
        return request["image"].file.read()

    def predict(self, jpeg: bytes) -> dict[str, Any]:
        """Decode, detect, answer."""
        return self.detector.answer(jpeg)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Already JSON's types."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Faces(),
        accelerator="cpu",
        devices=1,
        workers_per_device=WORKERS,
        fast_queue=os.environ.get("BENCH_LITSERVE_FAST_QUEUE", "0") == "1",
    )
    server.run(
        port=int(sys.argv[1]), host="127.0.0.1", num_api_servers=1, generate_client_file=False, log_level="warning", access_log=False
    )
