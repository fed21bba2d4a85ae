"""What happens to a batch in a model thread: inputs are validated and decoded, the service runs, answers become events.

Pure but for the service itself: no broker, no store, no clock but the one that stamps events.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from shared.errors import PerceptionError, ServiceFailed
from shared.events import Done, Event, Failed
from shared.log import get_logger
from shared.visits import Visit
from workers.contract import File, Files, Input, Item, MediaLimits, Output, Service, invalid_parameter
from workers.runtime.batching import Work
from workers.runtime.emitting import Emitter
from workers.streaming import StreamingService

log = get_logger(__name__)

#: Who computed: the worker, its device and the weights it uses, told in answers that were asked to explain themselves.
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch brought for one work: its final event, or a passing error to try again; the session's new state.

    ``visits`` must be safe before the event and the state are.
    """

    event: Event | None
    state: bytes | None = None
    retry: PerceptionError | None = None
    visits: tuple[Visit, ...] = ()


@dataclass(frozen=True, slots=True)
class Computer:
    """A loaded service and what it takes to run a batch of it."""

    service: Service[Any, Any]
    limits: MediaLimits
    facts: Facts

    def run(self, works: Sequence[Work], emitter: Emitter | None = None) -> list[Outcome]:
        """One outcome a work, in order. Never raises: a batch that fails is replayed one by one.

        ``emitter`` takes the pieces of a `StreamingService`'s answers, whose items run one at a time.
        """
        if emitter is not None and isinstance(self.service, StreamingService) and len(works) > 1:
            return [self.run([work], emitter)[0] for work in works]
        outcomes: dict[int, Outcome] = {}
        items: dict[int, Item[Any]] = {}
        for index, work in enumerate(works):
            if work.job.turn is not None and work.job.turn.closing:  # it has no input, and is no item
                outcomes[index] = self._close(work)
                continue
            try:
                items[index] = self._item(work)
            except PerceptionError as error:
                outcomes[index] = Outcome(Failed.of(error, time.time()))
        outcomes.update(self._answers(works, items, emitter))
        return [outcomes[index] for index in range(len(works))]

    def _answers(self, works: Sequence[Work], items: dict[int, Item[Any]], emitter: Emitter | None) -> dict[int, Outcome]:
        if not items:
            return {}
        begin = time.perf_counter()
        try:
            if emitter is not None and isinstance(self.service, StreamingService):
                answers: Sequence[Any] = [self.service.process_streamed(items[0], partial(emitter.emit, works[0]))]
            else:
                answers = self.service.process(list(items.values()))
            if len(answers) != len(items):
                raise ServiceFailed(f"{self.service.name} answered {len(answers)} items of {len(items)}")
        except PerceptionError as error:
            return self._after_failure(works, items, error)
        except Exception as error:  # whatever a service raises, its neighbours go on
            log.exception("service.raised", service=self.service.name, items=len(items), error=type(error).__name__)
            return self._after_failure(works, items, ServiceFailed())
        seconds = time.perf_counter() - begin
        return {
            index: self._outcome(works[index], item, answer, seconds, len(items))
            for (index, item), answer in zip(items.items(), answers, strict=True)
        }

    def _after_failure(self, works: Sequence[Work], items: dict[int, Item[Any]], error: PerceptionError) -> dict[int, Outcome]:
        """Nobody fails for a neighbour: each item once more, alone, with its input and state decoded afresh."""
        if len(items) == 1:
            return {next(iter(items)): _failure(error)}
        for index in items:
            works[index].prepared = None
        return {index: self.run([works[index]])[0] for index in items}

    def has_ahead(self, work: Work) -> bool:
        """Whether there is anything to do ahead: a thread is not woken for nothing."""
        return bool(work.job.files or work.files) or type(self.service).prepare is not Service.prepare

    def prepare(self, work: Work) -> None:
        """Do ahead what the frame needs no state for. Never raises: what fails here fails again in `run`, where it is answered."""
        try:
            parameters = self._input(work)
            self.service.prepare([parameters])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is dealt with when its turn has come
            log.debug("frame.not_prepared", service=self.service.name, error=type(error).__name__)
        else:
            work.prepared = parameters

    def _item(self, work: Work) -> Item[Any]:
        parameters = work.prepared if work.prepared is not None else self._input(work)
        return Item(parameters, self._state(work), _gap(work), work.job.created, work.job.off)

    def _input(self, work: Work) -> Input:
        """The validated input, its files decoded."""
        files = Files({**work.job.files, **work.files}, self.limits, work.samples)
        try:
            parameters: Input = self.service.input_type.model_validate(work.job.parameters, context=files.context())
        except ValidationError as error:
            raise invalid_parameter(error) from None
        for name in type(parameters).model_fields:
            _decode(getattr(parameters, name), name)
        return parameters

    def _state(self, work: Work) -> BaseModel | None:
        if work.seen is None or self.service.state_type is None:
            return None
        if work.seen.state is None:
            return self.service.state_type()
        return self.service.state_type.model_validate_json(work.seen.state)

    def _outcome(self, work: Work, item: Item[Any], answer: Output | PerceptionError, seconds: float, size: int) -> Outcome:
        if isinstance(answer, PerceptionError):
            return _failure(answer)
        result = answer.as_result()
        if _gap(work):
            result["gap_frames"] = _gap(work)
        if work.job.explain:
            result["explain"] = {**self._explanation(work, seconds, size), **answer.made}
        state = None if item.state is None else item.state.model_dump_json().encode()
        return Outcome(Done(time.time(), result), state, visits=answer.visits)

    def _explanation(self, work: Work, seconds: float, size: int) -> dict[str, Any]:
        return {
            **self.facts,
            "attempt": work.attempt,
            "batch_items": size,
            "queue_seconds": round(max(0.0, work.received - work.job.created), 6),
            "compute_seconds": round(seconds, 6),
        }

    def _close(self, work: Work) -> Outcome:
        try:
            state = self._state(work)
            had_state = state is not None and work.seen is not None and work.seen.state is not None
            visits = tuple(self.service.close(state)) if had_state else ()
        except Exception as error:  # a session that cannot be closed must not come back for ever
            log.exception("session.close_failed", service=self.service.name, error=type(error).__name__)
            return Outcome(Failed.of(ServiceFailed(), time.time()))
        return Outcome(Done(time.time(), {}), visits=visits)


def _gap(work: Work) -> int:
    """Frames of the session given up since the last one that was applied, those just now included."""
    if work.seen is None or work.job.turn is None:
        return 0
    return work.seen.skipped + work.job.turn.number - 1 - work.seen.finished


def _decode(value: object, name: str) -> None:
    if isinstance(value, File):
        try:
            value.decode()
        except PerceptionError as error:
            error.parameter = error.parameter or name
            raise


def _failure(error: PerceptionError) -> Outcome:
    return Outcome(Failed.of(error, time.time()), retry=error if error.retryable else None)
