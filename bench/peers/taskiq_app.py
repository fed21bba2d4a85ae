"""The `dummy` job on FastAPI + Taskiq (taskiq-aio-pika broker, taskiq-redis results).

Served by `uvicorn taskiq_app:app` and worked by `taskiq worker taskiq_app:broker --workers 1`; uvloop in both.

Choices, in the peer's favour where there was one:
* Taskiq declares a quorum queue and publishes persistent messages on a confirming channel by itself, which is the durability that we promise,
  so nothing is changed there.
* Results are awaited with the documented `wait_result`. It polls Redis; its default interval (0.2 s) bounds 16 connections to 80 jobs a second,
  so the interval is a parameter, and the default here is the one with the highest rate measured (see README.md).
* `qos` is raised from 10 to 100, the number of tasks that a worker runs at once by default, so that the worker never waits for the broker.
* No authentication, no metering, no validation beyond the types: less work than the system it is compared with.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Response
from pydantic import BaseModel
from taskiq_aio_pika import AioPikaBroker
from taskiq_redis import RedisAsyncResultBackend

INTERVAL = float(os.environ.get("BENCH_TASKIQ_INTERVAL", "0.002"))
"""Seconds between two looks at a result."""
TIMEOUT = 60.0
"""Seconds that a synchronous request waits for its result."""

results: RedisAsyncResultBackend[dict[str, str]] = RedisAsyncResultBackend(os.environ["BENCH_REDIS"], result_ex_time=3600)
broker = AioPikaBroker(os.environ["BENCH_AMQP"], qos=100).with_result_backend(results)


@broker.task(task_name="dummy")
async def dummy(echo: str) -> dict[str, str]:
    """Give back what came in."""
    return {"echo": echo}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Connect the gateway's side of the broker for as long as it serves."""
    if not broker.is_worker_process:
        await broker.startup()
    yield
    if not broker.is_worker_process:
        await broker.shutdown()


app = FastAPI(lifespan=lifespan)


class Job(BaseModel):
    """The body of a request."""

    model_config = {"extra": "ignore"}
    echo: str
    wait: bool = True


@app.post("/jobs", status_code=201)
async def create(job: Job, response: Response) -> dict[str, object]:
    """Publish one job; wait for its result if asked to."""
    task = await dummy.kiq(job.echo)
    url = f"/jobs/{task.task_id}"
    if not job.wait:
        response.status_code = 202
        return {"url": url, "status": 202}
    result = await task.wait_result(check_interval=INTERVAL, timeout=TIMEOUT)
    return {"url": url, "status": 201, **result.return_value}
