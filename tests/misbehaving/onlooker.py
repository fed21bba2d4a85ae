"""A service that takes a picture and does what its input tells it, for the tests of composites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

from shared.errors import ModelMissing, PerceptionError, UnreadableInput
from shared.visits import Visit
from workers.contract import Image, Input, Item, Output, Service


class OnlookerInput(Input):
    image: Image
    look: Literal["well", "raise", "too_little", "error", "passing"] = "well"
    mark: str = Field("", max_length=8)


class OnlookerOutput(Output):
    """``together``: the items of the batch. ``count`` and ``skipped`` only with a session."""

    omit_none = True

    mark: str
    together: int
    count: int | None = None
    skipped: int | None = None


class Looks(BaseModel):
    """Frames that were looked at."""

    count: int = 0


class Onlooker(Service[OnlookerInput, OnlookerOutput]):
    """Looks at a picture, or does not."""

    name = "onlooker"
    input_type = OnlookerInput
    output_type = OnlookerOutput
    state_type = Looks
    max_batch = 4

    def process(self, batch: Sequence[Item[OnlookerInput]]) -> Sequence[OnlookerOutput | PerceptionError]:
        for item in batch:
            if item.state is not None:
                item.state.count += 1  # before anything is raised: a failed attempt must leave no trace
        if any(item.input.look == "raise" for item in batch):
            raise RuntimeError("as told")
        answers = [_answer(item, len(batch)) for item in batch]
        return answers[:-1] if any(item.input.look == "too_little" for item in batch) else answers

    def close(self, state: Looks) -> Sequence[Visit]:
        return [Visit(f"looked {state.count} times", 0.0, 1.0, closed=True)]

    @classmethod
    def example(cls) -> OnlookerInput:
        from workers.faces import drawn_face

        return OnlookerInput(image=Image(drawn_face()))


def _answer(item: Item[OnlookerInput], together: int) -> OnlookerOutput | PerceptionError:
    if item.input.look == "error":
        return UnreadableInput("as told", parameter="image")
    if item.input.look == "passing":
        return ModelMissing("as told")
    if item.state is None:
        return OnlookerOutput(mark=item.input.mark, together=together)
    answer = OnlookerOutput(mark=item.input.mark, together=together, count=item.state.count, skipped=item.skipped)
    return answer.with_visits([Visit(f"{item.input.mark}-{item.state.count}", 0.0, 1.0)])
