"""Accept, process, settle: how one service of a worker turns deliveries into results.

The policy, one row a line (`tests/contract/test_runner.py` has the same rows):

- undecodable                       -> dead letter
- finished already                  -> ack
- past its deadline                 -> `deadline_exceeded`
- a blob it needs is gone           -> `blob_gone`
- invalid input                     -> the error of the input
- the item answered with an error   -> that error; a passing one is requeued after a pause, so many times
- `process` raised                  -> replayed alone, then `service_failed`
- answered                          -> state and `Done` stored, then ack
- a frame before its turn           -> parked until its predecessors are finished
- the process died                  -> delivered again, alone; after so many attempts, dead letter

The parts, in the order in which a delivery meets them: `arrivals` (decoded), `admission` (what has to be
asked first), `dispatch` (batches for the model threads), `threads` (in flight), `settle` (the result stored,
then acknowledged). What is not finished here goes back by `requeue`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

from shared.aio import BackgroundTasks
from shared.facts import ServedFacts
from shared.jobs import queue_of
from shared.log import get_logger
from shared.ports import Broker, Consumer, Stores
from workers.runtime.activity import Activity
from workers.runtime.admission import Admission
from workers.runtime.arrivals import Arrivals
from workers.runtime.attempts import Attempts
from workers.runtime.batching import Work
from workers.runtime.compute import Computer, Outcome
from workers.runtime.dispatch import Dispatcher
from workers.runtime.policy import Policy
from workers.runtime.requeue import Requeue
from workers.runtime.settle import Settler
from workers.runtime.threads import ModelThreads

log = get_logger(__name__)


class Runner:
    """One service in one process, between its queue and the store."""

    def __init__(
        self,
        computer: Computer,
        broker: Broker,
        stores: Stores,
        policy: Policy,
        pool: Executor,
        on_stuck: Callable[[str], None],
    ) -> None:
        """``pool`` runs the model threads.

        ``on_stuck`` is called with the service when a batch outlasts its time, or the runner has failed.
        """
        service = computer.service
        self.name, self.queue = service.name, queue_of(service.name, service.version)
        self._policy = policy
        self._activity = Activity(computer, policy.slots, policy.batch)
        stuck = partial(on_stuck, self.name)
        self._tasks = BackgroundTasks(partial(_failed, self.name, stuck))
        attempts = Attempts(stores.results, self.name, policy)
        requeue = Requeue(broker, self.name, self.queue, attempts, policy)
        self._settler = Settler(broker, stores, self.name, policy, requeue)
        threads = ModelThreads(service, self._activity, pool, stores.results, policy, self._tasks, stuck)
        self._dispatcher = Dispatcher(threads, attempts, requeue, policy, self._tasks, self._settle)
        self._admission = Admission(service, stores, policy, self._settler, requeue, self._dispatcher)
        parts = self._activity, policy, self._admission, self._dispatcher, self._tasks
        receive = Arrivals(self.name, *parts).receive
        self._subscribe = partial(broker.consume, self.queue, policy.prefetch, receive)
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        """Begin to consume. Raises `BrokerAway`."""
        self._consumer = await self._subscribe()
        batch, slots = self._policy.batch, self._policy.slots
        log.info("worker.consuming", service=self.name, queue=self.queue, batch=batch, slots=slots)

    async def verify(self) -> None:
        """Raise `BrokerAway` unless the broker confirms that it delivers to this runner."""
        if self._consumer is not None:
            await self._consumer.verify()

    def tell(self) -> ServedFacts:
        """What this runner does, for operators."""
        return self._activity.tell()

    async def stop(self) -> None:
        """Take nothing more, finish what computes, give the rest back."""
        if self._consumer is not None:
            await self._consumer.stop()
        self._admission.stop()
        await self._dispatcher.stop()
        await self._tasks.wait(self._policy.drain_seconds)
        log.info("worker.drained", service=self.name, unfinished=len(self._tasks))

    async def _settle(self, batch: list[Work], outcomes: list[Outcome]) -> None:
        # those whose sessions had changed: their turn is asked for again
        for work in await self._settler.settle(batch, outcomes):
            self._tasks.start(self._admission.admit(work))


def _failed(service: str, stuck: Callable[[], None], error: BaseException) -> None:
    # a fault of the house: its deliveries are unsettled, and only the broker can give them to somebody else
    log.error("runner.failed", service=service, exc_info=error)
    stuck()
