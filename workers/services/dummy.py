"""The service to try a connection with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel, Field

from workers.contract import Input, Item, Output, Service


class DummyInput(Input):
    echo: str = Field("echo", description="What is to come back.")


class DummyOutput(Output):
    omit_none = True

    echo: str = Field(description="The echo of the input.")
    count: int | None = Field(None, ge=1, description="Frames of this session so far, this one included. Only with a session.")


class DummyState(BaseModel):
    """How many frames of the session were counted."""

    count: int = 0


class Dummy(Service[DummyInput, DummyOutput]):
    """A simple dummy service. You can send {"echo": "Hello world"} to get back the message "Hello world" as result.

    Moreover, the dummy service is stateful: with a session it counts its frames in `count`.
    """

    name = "dummy"
    input_type = DummyInput
    output_type = DummyOutput
    state_type: ClassVar[type[BaseModel]] = DummyState
    max_batch = 64

    def process(self, batch: Sequence[Item[DummyInput]]) -> Sequence[DummyOutput]:
        return [DummyOutput(echo=item.input.echo, count=_count(item.state)) for item in batch]

    @classmethod
    def example(cls) -> DummyInput:
        return DummyInput(echo="Hello world!")


def _count(state: DummyState | None) -> int | None:
    if state is None:
        return None
    state.count += 1
    return state.count
