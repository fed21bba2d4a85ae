"""A network on a GPU: shapes that repeat, memory that runs out and is had again, and a device that is lost.

The runtime keeps whatever memory a shape has ever needed, so batches are filled up to one of a few sizes. Where memory runs out
nevertheless (other processes share the card) there is no error class for it, only texts: the batch is halved, down to single items; a
single item that fails has the session opened anew, which is the only way to get an arena's memory back; and if that does not help,
or the device itself is lost, nothing in this process will work on it again, so that the process has to be replaced.

Inputs and outputs are copied with every run. Binding them to the device would save nothing here: inputs come from decoders and
outputs are read by box-finding code, both on the processor, and no network of ours feeds another.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from shared import metrics
from shared.errors import DeviceMissing
from shared.log import get_logger

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

#: Numbers of items that a network is run with; larger batches are cut.
BUCKETS = (1, 2, 4, 8, 16, 32)
#: After so many runs of the largest batch that had room, a larger one is tried again.
TRY_LARGER_AFTER = 1000

log = get_logger(__name__)


class Trouble(Enum):
    """What a failed run says of the device."""

    MEMORY = "memory"  # another time, or with fewer items, it may work
    DEVICE = "device"  # nothing will work in this process any more


_MEMORY = re.compile(
    r"Failed to allocate memory for requested buffer"
    r"|is smaller than requested bytes of"  # the session's own limit
    r"|CUDA failure 2\b|out of memory"
    r"|(CUBLAS|CUDNN|CUFFT)\w*_ALLOC(ATION)?_FAILED"
    r"|cudaMallocFromPoolAsync failed"
)
# CUDA's errors stay: an illegal access or a card that fell off the bus answers every later call of the process.
_DEVICE = re.compile(r"CUDA failure (?!2\b)\d+|(CUBLAS|CUDNN|CUFFT)_\w*(EXECUTION_FAILED|MAPPING_ERROR|EXEC_FAILED)")


def trouble_of(error: BaseException) -> Trouble | None:
    """What the runtime's text says; None for whatever is not the device's fault (a wrong shape)."""
    text = str(error)
    if _MEMORY.search(text):
        return Trouble.MEMORY
    return Trouble.DEVICE if _DEVICE.search(text) else None


class Session(Protocol):
    """What is wrapped: a network whose runs may fail. ``batched``: the first axis of every input and output counts items."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def batched(self) -> bool: ...

    def run(self, feeds: Arrays) -> Arrays: ...


class _Room:
    """The largest batch that has room on the device."""

    def __init__(self) -> None:
        self.most = BUCKETS[-1]
        #: Runs of that batch that had room.
        self._runs = 0

    def had(self, size: int) -> None:
        """There was room for so many: who was in the way of more may have gone."""
        if size == self.most < BUCKETS[-1]:
            self._runs += 1
            if self._runs >= TRY_LARGER_AFTER:
                self.most, self._runs = 2 * size, 0

    def had_not(self, size: int) -> None:
        self.most = min(self.most, size // 2)


class _Reopening:
    """A session that several threads run in, and that is opened anew where memory ran out."""

    def __init__(
        self,
        session: Session,
        open_session: Callable[[], Session],
        on_lost: Callable[[str], None],
    ) -> None:
        self._open, self._on_lost = open_session, on_lost
        self._name, self._device = session.name, session.device
        #: None while it is opened anew, and once it is lost.
        self._session: Session | None = session
        self._changed = threading.Condition()
        #: Threads that run in it; how often it was opened anew.
        self._running = self.opened = 0
        self._lost = False

    def run(self, feeds: Arrays) -> Arrays | None:
        """None when memory ran out. By then nothing refers to the session any more, as the error would.

        Raises what the runtime raises for inputs that it cannot take, `DeviceMissing` for a lost device.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._session is not None or self._lost)
            if self._session is None:
                gone = f"the {self._device} device was lost; this worker is about to be replaced"
                raise DeviceMissing(gone)
            session = self._session
            self._running += 1
        try:
            return session.run(feeds)
        except Exception as error:  # the runtime's have no base class of their own
            trouble, text = trouble_of(error), str(error)
            if trouble is None:
                raise
        finally:
            del session
            with self._changed:
                self._running -= 1
                self._changed.notify_all()
        if trouble is Trouble.DEVICE:
            self.lose(text)
        return None

    def reopen(self, opened: int) -> None:
        """Open the session anew, unless somebody else did since ``opened``.

        The old one goes first, once nobody runs in it: there is no room for two.
        """
        with self._changed:
            if self.opened != opened or self._lost:
                return
            self.opened += 1
            self._session = None
            self._changed.wait_for(lambda: self._running == 0)
            log.warning("gpu.session_reopened", model=self._name)
            metrics.GPU_MEMORY_FAILURES.labels(self._name, "reopened").inc()
            try:
                self._session = self._open()
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no session
                reason = str(error)
            self._changed.notify_all()
        if self._session is None:
            self.lose(reason)

    def lose(self, reason: str) -> NoReturn:
        """Nothing will run any more. Raises `DeviceMissing`."""
        with self._changed:
            self._session, self._lost = None, True
            self._changed.notify_all()
        log.error("gpu.lost", model=self._name, reason=reason[:500])
        metrics.GPU_MEMORY_FAILURES.labels(self._name, "lost").inc()
        self._on_lost(self._name)
        raise DeviceMissing(f"the model {self._name} does not run on {self._device} any more: {reason[:500]}")


class GpuNetwork:
    """A `workers.contract.Network` that survives a full GPU."""

    def __init__(self, open_session: Callable[[], Session], on_lost: Callable[[str], None]) -> None:
        """``open_session`` is called at once, and again where memory ran out.

        ``on_lost`` is called, with the network's name, where that did not help: it should end the process.
        """
        session = open_session()
        self.name, self.sha256, self.device = session.name, session.sha256, session.device
        self._batched = session.batched
        self._session = _Reopening(session, open_session, on_lost)
        self._room = _Room()

    def run(self, feeds: Arrays) -> Arrays:
        """Every output by name.

        Raises what the runtime raises for inputs that it cannot take, `DeviceMissing` for a lost device.
        """
        count = len(next(iter(feeds.values()))) if self._batched else 0
        if count == 0:
            return self._certainly(feeds)
        parts, start = [], 0
        while start < count:
            size = min(self._room.most, count - start)
            parts.append(self._batch(_cut(feeds, start, start + size), size))
            start += size
        return _joined(parts)

    def _batch(self, feeds: Arrays, count: int) -> Arrays:
        """At most `BUCKETS[-1]` items, halved as often as it takes."""
        if count == 1:
            return self._certainly(feeds)
        size = next(bucket for bucket in BUCKETS if bucket >= count)
        found = self._session.run(_filled(feeds, size - count))
        if found is not None:
            self._room.had(size)
            return found if size == count else _cut(found, 0, count)
        self._room.had_not(size)
        log.warning("gpu.batch_halved", model=self.name, items=count)
        metrics.GPU_MEMORY_FAILURES.labels(self.name, "halved").inc()
        return self.run(feeds)

    def _certainly(self, feeds: Arrays) -> Arrays:
        """What cannot be cut: with a new session if need be, or not at all."""
        opened = self._session.opened
        found = self._session.run(feeds)
        if found is None:
            self._session.reopen(opened)
            found = self._session.run(feeds)
        if found is None:
            self._session.lose("no memory for a single item, with a new session either")
        return found


def _cut(arrays: Arrays, start: int, end: int) -> Arrays:
    return {name: value[start:end] for name, value in arrays.items()}


def _filled(feeds: Arrays, missing: int) -> Arrays:
    """The last item again and again: whatever is in it the network has to see anyway, and zeros might be a slower case."""
    if not missing:
        return feeds
    return {name: np.concatenate([value, np.repeat(value[-1:], missing, axis=0)]) for name, value in feeds.items()}


def _joined(parts: list[Arrays]) -> Arrays:
    return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
