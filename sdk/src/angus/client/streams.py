"""Streams of the 2018 client: frames in one long request, answers in another."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional

import httpx

from angus._core.documents import document_of, same_or_safer
from angus._core.parts import CONTENT_TYPE, END, PartReader, boundary_of, part_of
from angus._core.requests import body_of
from angus._core.transport import timeouts
from angus.client import rest
from angus.errors import AngusError, Unreachable

#: Seconds that the sender is given to end after the last answer.
_ENDING_SECONDS = 5.0


def stream(service: rest.Service, parameters: Mapping[str, Any], data: Iterable[rest.Frame]) -> Iterator[str]:
    """Open a stream, send what ``data`` brings in a thread of its own, and give the answers as they come, as JSON texts in order.

    The frames are taken from ``data`` only as fast as the server takes them. Ends when ``data`` has, with the last answer; closing the
    iterator ends it before. Raises `ApiError`, `Unreachable`, and whatever ``data`` raises.
    """
    made = service.streams._made(body_of(parameters), rest.Job)
    sender = _Sender(service.conf, made.result["input"], data)
    output = same_or_safer(service.endpoint, made.result["output"])
    sender.start()
    try:
        with service.conf.client.stream("GET", output, timeout=_patient(service.conf)) as response:
            yield from _answers(response, output)
    except httpx.TransportError as error:
        sender.stop()
        raise sender.error or Unreachable(f"the stream broke off ({error or type(error).__name__})") from error
    finally:
        sender.stop()
    if sender.error is not None:
        raise sender.error


def _answers(response: httpx.Response, url: str) -> Iterator[str]:
    if response.status_code != 200:
        document_of(response.status_code, response.headers, response.read(), url)
        raise AngusError(f"{url} answered {response.status_code}")
    reader = PartReader(boundary_of(response.headers.get("Content-Type", "")))
    for received in response.iter_raw():
        yield from reader.feed(received)
        if reader.ended:
            return


def _patient(conf: rest.Configuration) -> httpx.Timeout:
    """Nothing is answered while nothing is sent, so only connecting has a limit here."""
    return httpx.Timeout(None, connect=timeouts(conf.timeout).connect)


class _Sender(threading.Thread):
    """Posts the frames. ``error`` is what ended it early, if anything did."""

    def __init__(self, conf: rest.Configuration, url: str, data: Iterable[rest.Frame]) -> None:
        super().__init__(name="angus-stream", daemon=True)
        self._conf, self._url, self._data = conf, url, data
        self._stopped = threading.Event()
        self.error: Optional[Exception] = None

    def run(self) -> None:
        headers = {"Content-Type": CONTENT_TYPE}
        try:
            response = self._conf.client.post(self._url, content=self._parts(), headers=headers, timeout=_patient(self._conf))
            document_of(response.status_code, response.headers, response.content, self._url)
        except httpx.TransportError as error:
            self.error = self.error or Unreachable(f"the stream broke off ({error or type(error).__name__})")
        except Exception as error:  # noqa: BLE001  (whatever the frames' source raises belongs to the one who reads the answers)
            self.error = error

    def stop(self) -> None:
        """No further frame. Waits a moment for the request to end; a source that is still waiting for a frame is left behind."""
        self._stopped.set()
        self.join(_ENDING_SECONDS)

    def _parts(self) -> Iterator[bytes]:
        for parameters, name, content in self._data:
            if self._stopped.is_set():
                break
            yield part_of(parameters, name, content)
        yield END
