"""The `dummy` job on FastAPI + Celery (RabbitMQ broker, Redis results).

Served by `uvicorn celery_app:app`, worked by `celery -A celery_app:celery worker`.

Choices, in the peer's favour where there was one:
* Celery has no asyncio interface: publishing and `AsyncResult.get` are blocking, so the endpoint is a plain function that FastAPI runs in its
  thread pool (40 threads, more than the connections of the load).
* Queue and messages are durable and persistent (Celery's defaults) and publisher confirms are on, since "accepted" otherwise would
  not mean safe in the broker. The queue stays a classic one (Celery's default), which is cheaper than our quorum queue.
* Acknowledgement stays early (Celery's default): cheaper and weaker than ours, which acknowledges after the result is stored.
* JSON serialiser, no events, no gossip, no mingle, no rate limits, prefetch 64: what its guide advises for short tasks.
* Pool and concurrency are parameters of the harness; the default there is the fastest measured (see README.md).
"""

import os

from celery import Celery
from fastapi import FastAPI, Response
from pydantic import BaseModel

TIMEOUT = 60.0
"""Seconds that a synchronous request waits for its result."""

celery = Celery("bench", broker=os.environ["BENCH_AMQP"], backend=os.environ["BENCH_REDIS"])
celery.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    result_expires=3600,
    task_default_queue="bench.celery",
    worker_prefetch_multiplier=64,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    broker_pool_limit=40,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": os.environ.get("BENCH_CELERY_CONFIRM", "1") == "1"},
    redis_max_connections=200,
)


@celery.task(name="dummy")
def dummy(echo: str) -> dict[str, str]:
    """Give back what came in."""
    return {"echo": echo}


app = FastAPI()


class Job(BaseModel):
    """The body of a request."""

    model_config = {"extra": "ignore"}
    echo: str
    wait: bool = True


@app.post("/jobs", status_code=201)
def create(job: Job, response: Response) -> dict[str, object]:
    """Publish one job; wait for its result if asked to."""
    task = dummy.delay(job.echo)
    url = f"/jobs/{task.id}"
    if not job.wait:
        response.status_code = 202
        return {"url": url, "status": 202}
    return {"url": url, "status": 201, **task.get(timeout=TIMEOUT)}
