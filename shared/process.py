"""How a process of ours runs: logs, traces, the fast event loop, and its manners beside those that compute."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from shared.log import configure, get_logger
from shared.settings import Settings
from shared.trace import tracing

log = get_logger(__name__)

#: How long a thread may keep the interpreter while another one wants it, in seconds. Python's own 5 ms would be added to each
#: answer, once a model thread.
SWITCH_INTERVAL = 0.0005


def run_process(settings: Settings, role: str, serving: Coroutine[Any, Any, int], *, switch_interval: float = SWITCH_INTERVAL) -> int:
    """Serve on the fast event loop until ``serving`` is done; returns its exit status. ``role``: what traces call this process."""
    import uvloop  # not on every platform

    interrupt_nobody()
    sys.setswitchinterval(switch_interval)
    configure(settings.log_level, settings.log_format)
    with tracing(settings, role):
        return uvloop.run(serving)


def started() -> None:
    """Say that everything is there that will stay: the garbage collector need not look at it any more.

    Some 150,000 objects of libraries and of what was built from them. Every full collection walked through them, and the event loop
    stood still for 80 to 100 ms, every few seconds under load.
    """
    gc.collect()
    gc.freeze()
    log.info("process.started", kept=gc.get_freeze_count())


def interrupt_nobody() -> None:
    """Put this process into the kernel's class for computing (SCHED_BATCH), from which a thread that wakes up preempts no other.

    A job wakes gateway and worker a dozen times, and each time an inference on the same cores lost its caches. While every core
    computes, an event loop now waits for the end of somebody's slice: 1 to 4 ms where a picture waits for tens. Threads and
    children inherit it. Does nothing where there is no such class (macOS) or a sandbox forbids it.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
