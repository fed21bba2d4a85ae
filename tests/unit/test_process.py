"""A process of ours among others, looked at from inside: a Python that runs one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_PROGRAM = """
import json, os, sys, threading
from shared.process import run_process
from shared.settings import read_settings

async def serving():
    policies = [os.sched_getscheduler(0)]
    thread = threading.Thread(target=lambda: policies.append(os.sched_getscheduler(threading.get_native_id())))
    thread.start()
    thread.join()
    print(json.dumps({"policies": policies, "interval": sys.getswitchinterval()}))
    return 3

raise SystemExit(run_process(read_settings(), "worker", serving(), switch_interval=0.001))
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system has no class for computing")
def test_its_threads_interrupt_nobody_and_share_the_interpreter_as_told() -> None:
    done = run(_PROGRAM)
    assert done.returncode == 3, done.stderr
    seen = json.loads(done.stdout)
    assert seen["policies"] == [os.SCHED_BATCH, os.SCHED_BATCH]
    assert seen["interval"] == pytest.approx(0.001)


_STARTED = """
import gc
from shared.process import started

made = [[number] for number in range(1000)]
started()
print('left', len([one for one in gc.get_objects() if type(one) is list and len(one) == 1]))
"""


def test_what_the_start_made_is_not_looked_at_by_the_collector() -> None:
    done = run(_STARTED)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.rpartition("left ")[2]) < 100
