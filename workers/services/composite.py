"""Several services on one picture: it travels once, is decoded once, and its faces are looked for once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from shared.errors import PerceptionError, ServiceFailed
from shared.log import get_logger
from shared.visits import Visit
from workers.composing import ComposedInput, ComposedOutput, ComposedService, Part, PartFailed
from workers.contract import Item, Output

log = get_logger(__name__)


class PartState(BaseModel):
    """What a service remembers of the session, and the frame that it saw last."""

    seen: int
    state: str | None


class CompositeState(BaseModel):
    """``frame`` counts the session's frames, those given up included; ``parts`` is by the service's name."""

    frame: int = 0
    parts: dict[str, PartState] = Field(default_factory=dict)


@dataclass(slots=True)
class _Frame:
    """An item while the services work on it, one after the other."""

    item: Item[ComposedInput]
    results: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, PerceptionError] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    made: dict[str, Any] = field(default_factory=dict)


class Composite(ComposedService):
    """Several services on one picture, in one job.

    `services` names them, `image` is for all of them, and each takes those of the other parameters that it knows. The picture is sent
    once and decoded once, and the services that look at faces look for them once. The result of each service stands under its name;
    a service that fails has `error` and `code` there instead, and the others go on. Only when none of them can answer does the job fail.
    With a session each service follows it as it would by itself.
    """

    name = "composite"
    state_type: ClassVar[type[BaseModel]] = CompositeState
    max_batch = 16

    def process(self, batch: Sequence[Item[ComposedInput]]) -> Sequence[ComposedOutput | PerceptionError]:
        frames = [_Frame(item) for item in batch]
        for item in batch:
            if item.state is not None:
                item.state.frame += 1 + item.skipped
        for name, part in self.parts.items():
            asked = [frame for frame in frames if name in frame.item.input.parts]
            if isinstance(part, PerceptionError):
                for frame in asked:
                    _note(frame, name, part)
                continue
            for begin in range(0, len(asked), part.batch):
                _run(name, part, asked[begin : begin + part.batch])
        return [_answer(frame) for frame in frames]

    def close(self, state: CompositeState) -> Sequence[Visit]:
        visits: list[Visit] = []
        for name, kept in state.parts.items():
            part = self.parts.get(name)
            if isinstance(part, Part) and part.service.state_type is not None and kept.state is not None:
                visits += part.service.close(part.service.state_type.model_validate_json(kept.state))
        return visits

    @classmethod
    def example(cls) -> ComposedInput:
        """That of the first service, for it alone."""
        name, kind = next(iter(cls.kinds.items()))
        return cls.input_type(services=[name], image=kind.example().image)


def _run(name: str, part: Part, frames: Sequence[_Frame]) -> None:
    """One service on a batch. What it raises makes it try the items one by one: nobody fails for a neighbour."""
    items = [_item(name, part, frame) for frame in frames]
    begin = time.perf_counter()
    try:
        answers = part.service.process(items)
        if len(answers) != len(items):
            raise ServiceFailed(f"{name} answered {len(answers)} items of {len(items)}")
    except Exception as error:  # noqa: BLE001 - whatever one service raises, the others go on
        if len(frames) == 1:
            _note(frames[0], name, error)
        else:
            for frame in frames:
                _run(name, part, [frame])
        return
    seconds = time.perf_counter() - begin
    for frame, item, answer in zip(frames, items, answers, strict=True):
        _keep(frame, name, part, item, answer)
        frame.made[name] = {**part.facts, "batch_items": len(items), "compute_seconds": round(seconds, 6)}


def _item(name: str, part: Part, frame: _Frame) -> Item[Any]:
    """The item as this service would see it alone, its state decoded afresh."""
    item = frame.item
    given = item.input.parts[name]
    kind = part.service.state_type
    if item.state is None or kind is None:
        return Item(given, None, item.skipped, item.accepted, item.off)
    kept = item.state.parts.get(name)
    if kept is None or kept.state is None:
        return Item(given, kind(), 0, item.accepted, item.off)
    return Item(given, kind.model_validate_json(kept.state), item.state.frame - kept.seen - 1, item.accepted, item.off)


def _keep(frame: _Frame, name: str, part: Part, item: Item[Any], answer: Output | PerceptionError) -> None:
    if isinstance(answer, PerceptionError):
        _note(frame, name, answer)
        return
    frame.results[name] = answer.as_result()
    frame.visits += answer.visits
    if item.state is not None:
        frame.item.state.parts[name] = PartState(seen=frame.item.state.frame, state=item.state.model_dump_json())


def _note(frame: _Frame, name: str, error: Exception) -> None:
    if not isinstance(error, PerceptionError):
        log.error("service.raised", service=name, error=type(error).__name__, exc_info=error)
        error = ServiceFailed()
    frame.errors[name] = error
    frame.results[name] = PartFailed.result(error)


def _answer(frame: _Frame) -> ComposedOutput | PerceptionError:
    asked: Mapping[str, Any] = frame.item.input.parts
    if len(frame.errors) == len(asked):
        return frame.errors[next(iter(asked))]
    output = ComposedOutput().with_results({name: frame.results[name] for name in asked})
    return output.with_visits(frame.visits).with_made({"services": {name: frame.made[name] for name in asked if name in frame.made}})
