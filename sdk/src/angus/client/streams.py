"""Streams of the 2018 client: frames in one long request, answers in another."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional

import httpx

from angus._core.documents import document_of, same_or_safer
from angus._core.parts import CONTENT_TYPE, END, PartReader, boundary_of, part_of
from angus._core.requests import body_of
from angus._core.transport import timeouts
from angus.client import rest
from angus.errors import AngusError, ApiError, Unreachable

log = logging.getLogger("angus")

#: Seconds that the sender is given to end after the last answer.
_ENDING_SECONDS = 5.0


def stream(service: rest.Service, parameters: Mapping[str, Any], data: Iterable[rest.Frame]) -> Iterator[str]:
    """Open a stream, send what ``data`` brings in a thread of its own, and give the answers as they come, as JSON texts in order.

    Frames are taken from ``data`` only as fast as the server takes them. Ends when ``data`` has, with the last answer; closing the
    iterator ends it before. Raises `ApiError`, `Unreachable`, and whatever ``data`` raises.
    """
    made = service.streams._made(body_of(parameters), rest.Job)
    sender = _Sender(made, data)
    sender.start()
    complete = False
    try:
        yield from _answers(made)
        complete = True
    except (AngusError, httpx.TransportError) as error:
        if sender.error is None and isinstance(error, httpx.TransportError):
            raise Unreachable(f"the stream broke off ({error or type(error).__name__})") from None
        if sender.error is None:
            raise
    finally:
        if not complete:
            end(made)
        sender.stop()
    if sender.error is not None:
        raise sender.error


def end(made: rest.Job) -> None:
    """End the stream at the server, if it has not ended; it ends by itself when no frame comes for a while."""
    try:
        made.delete()
    except AngusError as error:
        log.info("the stream ends by itself, since it could not be ended: %s", error)


def _answers(made: rest.Job) -> Iterator[str]:
    url = same_or_safer(made.endpoint, made.result["output"])
    with made.conf.client.stream("GET", url, timeout=_patient(made.conf)) as response:
        if response.status_code != 200:
            document_of(response.status_code, response.headers, response.read(), url)
            raise AngusError(f"{url} answered {response.status_code}")
        reader = PartReader(boundary_of(response.headers.get("Content-Type", "")))
        for received in response.iter_raw():
            for text in reader.feed(received):
                _raise_if_closed(text)
                yield text
            if reader.ended:
                return


def _raise_if_closed(text: str) -> None:
    """The last part of a stream that the server ends early is no answer."""
    if '"closed"' in text:
        document = json.loads(text)
        if document.get("stream", {}).get("closed") and "error" in document:
            raise ApiError(int(document.get("status", 500)), document)


def _patient(conf: rest.Configuration) -> httpx.Timeout:
    """Nothing is answered while nothing is sent, so only connecting has a limit here."""
    return httpx.Timeout(None, connect=timeouts(conf.timeout).connect)


class _Sender(threading.Thread):
    """Posts the frames. ``error`` is what ended it early, if anything did."""

    def __init__(self, made: rest.Job, data: Iterable[rest.Frame]) -> None:
        super().__init__(name="angus-stream", daemon=True)
        self._made, self._data = made, data
        self._stopped = threading.Event()
        self.error: Optional[Exception] = None

    def run(self) -> None:
        url = same_or_safer(self._made.endpoint, self._made.result["input"])
        conf, headers = self._made.conf, {"Content-Type": CONTENT_TYPE}
        try:
            response = conf.client.post(url, content=self._parts(), headers=headers, timeout=_patient(conf))
            document_of(response.status_code, response.headers, response.content, url)
        except Exception as error:  # noqa: BLE001  (whatever the frames' source raises belongs to the one who reads the answers)
            if not self._stopped.is_set():
                self.error = Unreachable(f"the stream broke off ({error!r})") if isinstance(error, httpx.TransportError) else error
                end(self._made)  # no answer comes any more; this lets the reader know

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
