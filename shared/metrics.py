"""The facts that operators watch, in Prometheus form: base units, few labels, never a tenant or a job."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics, generate_latest

disable_created_metrics()  # type: ignore[no-untyped-call]  # when a series began is of no use to anybody here, and doubles what is scraped

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

REQUESTS = Counter("sensorium_requests_total", "HTTP requests answered", ("route", "method", "status"))
REQUEST_SECONDS = Histogram("sensorium_request_seconds", "From a request's header to its answer", ("route",), buckets=_SECONDS)
ACCEPTED = Counter("sensorium_jobs_accepted_total", "Jobs that are safe in the broker", ("service",))
REFUSED = Counter("sensorium_jobs_refused_total", "Jobs that were not accepted", ("service", "code"))
STREAM_SECONDS = Counter("sensorium_stream_seconds_total", "Seconds of stream that this process counted", ("plan",))
UNCOUNTED = Counter("sensorium_stream_seconds_uncounted_total", "Seconds of stream of paid plans that nobody could count", ("plan",))
PUBLISH_SECONDS = Histogram("sensorium_publish_seconds", "Until the broker confirmed a message", buckets=_SECONDS)
WAITERS = Gauge("sensorium_waiters", "Requests that wait for a result")
CONNECTIONS = Gauge("sensorium_connections", "Open HTTP connections")

FINISHED = Counter("sensorium_jobs_finished_total", "Jobs that ended, by outcome: done or an error's code", ("service", "outcome"))
DUPLICATES = Counter("sensorium_duplicates_total", "Deliveries whose job had ended already", ("service",))
REDELIVERED = Counter("sensorium_redelivered_total", "Deliveries that somebody may have worked on before", ("service",))
QUEUE_SECONDS = Histogram("sensorium_queue_wait_seconds", "From acceptance to a worker's hand", ("service",), buckets=_SECONDS)
BATCH_SECONDS = Histogram("sensorium_batch_wait_seconds", "From a worker's hand to the start of its batch", ("service",), buckets=_SECONDS)
COMPUTE_SECONDS = Histogram("sensorium_compute_seconds", "Computation of a batch", ("service",), buckets=_SECONDS)
BUSY_SECONDS = Counter("sensorium_busy_seconds_total", "Time that model threads spent computing", ("service",))
SETTLE_SECONDS = Histogram("sensorium_settle_seconds", "Storing the results of a batch", ("service",), buckets=_SECONDS)
BATCH_ITEMS = Histogram("sensorium_batch_items", "Items of a batch", ("service",), buckets=(1, 2, 4, 8, 16, 32, 64, 128))
GPU_MEMORY_FAILURES = Counter(
    "sensorium_gpu_memory_failures_total", "Runs for which a GPU had no memory, by what became of them", ("model", "outcome")
)
PARKED = Gauge("sensorium_frames_parked", "Frames that wait for their predecessors", ("service",))
DEAD_LETTERS = Counter("sensorium_dead_letters_total", "Messages that could not be done, by reason", ("reason",))
DEAD_LETTERS_KEPT = Gauge("sensorium_dead_letters_kept", "Dead letters that operators can see; NaN while the store is away")
QUEUE_READY = Gauge("sensorium_queue_ready", "Messages that wait in a queue", ("queue",))
QUEUE_UNACKNOWLEDGED = Gauge("sensorium_queue_unacknowledged", "Messages of a queue that are in somebody's hand", ("queue",))
QUEUE_CONSUMERS = Gauge("sensorium_queue_consumers", "Who would take messages of a queue", ("queue",))
QUEUE_OLDEST_SECONDS = Gauge("sensorium_queue_oldest_seconds", "Age of the oldest message of a queue, waiting or in hand", ("queue",))
WORKERS = Gauge("sensorium_workers", "Worker processes heard of lately that serve a service", ("service", "device"))
WORKER_MODELS = Gauge(
    "sensorium_worker_models",
    "Worker processes that answer a service with a model; stands_in_for names the model in whose place it answers",
    ("service", "model", "stands_in_for"),
)
SESSIONS_ALIVE = Gauge("sensorium_sessions", "Sessions that have not been closed", ("service",))
PART_UP = Gauge("sensorium_part_up", "1 if what this process opened answers, else 0; the parts of /readyz", ("part",))
SESSIONS_CLOSED = Counter("sensorium_sessions_closed_total", "Sessions that fell silent and were closed")
STREAM_CONNECTIONS = Gauge("sensorium_stream_connections", "Open connections of streams of frames, by form", ("form",))
STREAM_FRAMES = Counter("sensorium_stream_frames_total", "Frames of streams that became jobs", ("service",))
STREAM_DROPPED = Counter("sensorium_stream_dropped_total", "Frames of live streams that gave way to newer ones", ("service",))
STREAM_CLOSED = Counter("sensorium_stream_closed_total", "Connections of streams that the gateway closed, by reason", ("reason",))
WEBHOOKS = Counter("sensorium_webhooks_total", "Tries to deliver a webhook, by how they ended", ("outcome",))
VISITS_WRITTEN = Counter("sensorium_visits_written_total", "Records of visits that are safe in the database, told once or again")
VISITS_DROPPED = Counter("sensorium_visits_dropped_total", "Records of visits that could not be kept, by reason", ("reason",))
VISITS_DELETED = Counter("sensorium_visits_deleted_total", "Visits whose time was over")


def exposition() -> bytes:
    """Everything this process has counted, as Prometheus reads it."""
    return generate_latest()
