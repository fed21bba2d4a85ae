"""Services whose answer can be heard or read while the rest of it is still being made."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import Field

from shared.errors import PerceptionError
from workers.contract import Input, Item, Output, Service

#: Takes one piece of an answer, in order. Raises a `PerceptionError` when there is no use in going on.
Emit = Callable[[Mapping[str, Any]], None]


class StreamedInput(Input):
    """Parameters of a service that can answer in pieces."""

    stream: bool = Field(
        False,
        strict=True,
        description="Send the answer in pieces while it is being made: as the body of the answer, or with `async: true` as events of the job.",
    )


StreamedIn = TypeVar("StreamedIn", bound=StreamedInput)
Out = TypeVar("Out", bound=Output)


class StreamingService(Service[StreamedIn, Out]):
    """A service that emits pieces of sound before its answer, which holds the whole.

    Its items are processed one at a time. The same input gives the same pieces each time: when a worker dies half-way the next one
    starts from the beginning, and readers drop the pieces that they have.
    """

    @abstractmethod
    def process_streamed(self, item: Item[StreamedIn], emit: Emit) -> Out | PerceptionError:
        """Answer one item, and call ``emit`` for each piece as soon as it is there, whether or not anybody asked for pieces.

        A piece is a mapping with ``sound`` (a WAV of its own, compressed with zlib, in base64), ``rate`` (Hz) and ``voice``; an empty one
        says that the work goes on, where nobody asked for pieces. What ``emit`` raises is to be let through. Called from several
        threads at a time.
        """

    def process(self, batch: Sequence[Item[StreamedIn]]) -> Sequence[Out | PerceptionError]:
        return [self.process_streamed(item, _drop) for item in batch]


def _drop(_: Mapping[str, Any]) -> None:
    """For callers who want the whole answer only."""
