"""How a runner behaves: what it takes in hand, and for how long it waits for what."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings import Settings

#: Frames that may wait for their turn, a model thread: it carries five or six cameras, and of the four frames that each has under way
#: three wait. More would hold jobs without a session that an idle worker could do.
_PARKED = 16


@dataclass(frozen=True, slots=True)
class Policy:
    """How a runner behaves. Times in seconds.

    ``slots``: batches that compute at a time, and as many may wait in the threads' queue; ``batch``: items of one. A job that
    waited longer than ``check_after``, or was delivered before, is looked up first: it may have been cancelled or done. A batch
    that computes for longer than ``announce_after`` says so to whoever follows. A model thread waits for a sample for at most
    ``read_seconds``.
    """

    slots: int = 1
    batch: int = 1
    prefetch: int = 8
    attempts: int = 3
    process_seconds: float = 120.0
    drain_seconds: float = 30.0
    retry_pause: float = 1.0
    check_after: float = 1.0
    announce_after: float = 1.0
    gap_seconds: float = 15.0
    parked: int = 256
    parked_pause: float = 0.1
    read_seconds: float = 10.0

    @classmethod
    def of(cls, settings: Settings, slots: int, batch: int, *, stateful: bool) -> Policy:
        """``stateful``: the service has sessions, whose frames wait for each other in hand."""
        parked = min(settings.session_parked, _PARKED * slots) if stateful else 0
        prefetch = settings.prefetch or max(8, 2 * slots * batch + 4 + parked)
        return cls(
            slots=slots,
            batch=batch,
            prefetch=prefetch,
            attempts=settings.attempts,
            process_seconds=settings.process_seconds,
            drain_seconds=settings.drain_seconds,
            retry_pause=settings.retry_pause_seconds,
            gap_seconds=settings.session_gap_seconds,
            read_seconds=2 * settings.store_seconds,  # a net: the store gives up by itself before
            # some of what is in hand must stay free to reach the frame that the parked ones wait for
            parked=min(settings.session_parked, max(1, prefetch - slots * batch - 1)),
        )
