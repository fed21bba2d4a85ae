"""A service that does what its input tells it: every way to misbehave, for the tests of the runner and of faults."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

from shared.errors import ModelMissing, PerceptionError, UnreadableInput
from shared.visits import Visit
from workers.contract import Input, Item, Output, Service

Deed = Literal["nothing", "raise", "die", "hang", "too_little", "error", "passing", "sleep", "visit"]


class MisbehaverInput(Input):
    """``deed``: what to do. ``once``: a file; when it exists already, nothing is done (the deed happens once)."""

    deed: Deed = "nothing"
    once: str | None = None
    seconds: float = Field(0.0, ge=0, le=60)
    mark: str = ""


class MisbehaverOutput(Output):
    """``count``: frames of the session that were applied. ``marks``: what they were marked with, in order."""

    omit_none = True

    mark: str = ""
    count: int | None = None
    marks: list[str] | None = None
    together: int = 1


class Applied(BaseModel):
    """The marks of the frames that were applied, in the order of their application."""

    marks: list[str] = []


class Misbehaver(Service[MisbehaverInput, MisbehaverOutput]):
    """Does what its input tells it."""

    name = "misbehaver"
    input_type = MisbehaverInput
    output_type = MisbehaverOutput
    state_type = Applied
    max_batch = 4

    def process(self, batch: Sequence[Item[MisbehaverInput]]) -> Sequence[MisbehaverOutput | PerceptionError]:
        answers = [self._answer(item, len(batch)) for item in batch]
        for item, answer in zip(batch, answers, strict=True):
            if item.input.deed == "visit" and isinstance(answer, MisbehaverOutput):
                answer.with_visits([Visit(f"{item.input.mark}-{number}", 0.0, 1.0) for number in range(2)])
        if any(item.input.deed == "too_little" for item in batch):
            return answers[:-1]
        return answers

    def close(self, state: Applied) -> Sequence[Visit]:
        path = os.environ.get("MISBEHAVER_CLOSED")
        if path:
            with open(path, "a") as file:
                file.write(",".join(state.marks) + "\n")
        return [Visit(mark, 0.0, 1.0, closed=True) for mark in state.marks if mark]

    @classmethod
    def example(cls) -> MisbehaverInput:
        return MisbehaverInput()

    def _answer(self, item: Item[MisbehaverInput], together: int) -> MisbehaverOutput | PerceptionError:
        if _is_due(item.input):
            error = _do(item.input)
            if error is not None:
                return error
        if item.state is None:
            return MisbehaverOutput(mark=item.input.mark, together=together)
        item.state.marks.append(item.input.mark)
        return MisbehaverOutput(mark=item.input.mark, count=len(item.state.marks), marks=list(item.state.marks), together=together)


def _is_due(wanted: MisbehaverInput) -> bool:
    if wanted.once is None:
        return True
    try:
        os.close(os.open(wanted.once, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _do(wanted: MisbehaverInput) -> PerceptionError | None:
    if wanted.deed == "raise":
        raise RuntimeError("as told")
    if wanted.deed == "die":
        os._exit(9)
    if wanted.deed in ("sleep", "hang"):
        time.sleep(wanted.seconds)
    if wanted.deed == "error":
        return UnreadableInput("as told")
    if wanted.deed == "passing":
        return ModelMissing("as told", retry_after=0.01)
    return None
