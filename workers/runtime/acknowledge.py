"""A job has ended: its delivery is acknowledged, counted, and what was stored for it alone is deleted."""

from __future__ import annotations

from typing import Any

from shared import metrics
from shared.aio import BackgroundTasks
from shared.events import Event, Failed
from shared.jobs import blob_place, is_job_file
from shared.log import get_logger
from shared.ports import BlobStore
from workers.runtime.batching import Work

log = get_logger(__name__)


class Acknowledger:
    """Acknowledges the deliveries of one service once their results are stored."""

    def __init__(self, blobs: BlobStore, service: str) -> None:
        self._blobs, self._service = blobs, service
        self._duplicates = metrics.DUPLICATES.labels(service)
        #: The counter of each outcome met so far, by its name: `labels()` costs more than counting.
        self._outcomes: dict[str, Any] = {}
        self._deletions = BackgroundTasks(self._left)

    def ended(self, work: Work, event: Event, *, stored: bool) -> None:
        """``stored``: the event was taken as the end of the job; if not, it had ended already."""
        if not stored:
            self.duplicate(work)
            return
        outcome = event.code if isinstance(event, Failed) else "done"
        counter = self._outcomes.get(outcome)
        if counter is None:
            counter = self._outcomes[outcome] = metrics.FINISHED.labels(self._service, outcome)
        counter.inc()
        work.delivery.ack()
        self._drop_files(work)

    def duplicate(self, work: Work) -> None:
        """The job had ended already: somebody else's result stands."""
        self._duplicates.inc()
        work.delivery.ack()

    def _drop_files(self, work: Work) -> None:
        """What was stored for this job alone ends with it."""
        for blob_id in filter(is_job_file, work.job.blobs.values()):
            self._deletions.start(self._blobs.delete(*blob_place(work.job.tenant, blob_id)))

    def _left(self, _: BaseException) -> None:
        log.warning("job.file_left", service=self._service)  # it expires by itself
