"""What a table must say about where and with what it was measured."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import aiormq
import psutil
import redis

from bench.systems import Servers
from bench.venvs import versions


def machine() -> dict[str, str]:
    """Cores, memory, Python."""
    return {
        "cores": f"{len(os.sched_getaffinity(0))} × {_processor()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "Python": platform.python_version(),
    }


def dummy() -> dict[str, str]:
    """Versions of what carries jobs."""
    return {
        "aiohttp": version("aiohttp"),
        "aio-pika": version("aio-pika"),
        **versions("taskiq", "fastapi", "uvicorn", "taskiq", "taskiq-aio-pika", "taskiq-redis"),
        **versions("celery", "celery"),
    }


def servers(where: Servers) -> dict[str, str]:
    """What broker and store say that they are."""
    with redis.Redis.from_url(where.store) as store:
        return {"RabbitMQ": asyncio.run(_broker_version(where.broker)), "Redis": str(store.info("server")["redis_version"])}


async def _broker_version(url: str) -> str:
    connection = await aiormq.connect(url)
    try:
        version = connection.server_properties["version"]
        return version.decode() if isinstance(version, bytes) else str(version)
    finally:
        await connection.close()


def faces() -> dict[str, str]:
    """Versions of what computes and serves. The peers' runtime must be ours, else their environments need new pins."""
    ours = {"onnxruntime": version("onnxruntime"), "opencv-python-headless": version("opencv-python-headless"), "numpy": version("numpy")}
    for peer in ("litserve", "bentoml"):
        theirs = versions(peer, *ours)
        if theirs != ours:
            ours[f"{peer}'s own"] = ", ".join(f"{name} {number}" for name, number in theirs.items() if number != ours[name])
    return {**ours, **versions("litserve", "litserve"), **versions("bentoml", "bentoml")}


def sentence(facts: Mapping[str, str]) -> str:
    """The facts in one line."""
    return "; ".join(f"{name} {value}" for name, value in facts.items()) + "."


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
