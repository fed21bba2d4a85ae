"""The bound: decode + inference + answer as JSON in two processes that do nothing else, no server, no queue.

`python bare_loop.py JPEG SECONDS` prints one line of JSON: jobs, seconds of each process, latencies and CPU seconds.
"""

import json
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from yunet import Detector

PROCESSES = 2


def work(jpeg: bytes, seconds: float, start: Barrier, out: Connection) -> None:
    """Do the job over and over for `seconds` and send [jobs, seconds, latencies (s), CPU seconds]."""
    detector = Detector(os.environ["BENCH_MODEL"])
    json.dumps(detector.answer(jpeg))
    start.wait()
    times = []
    cpu, begin = time.process_time(), time.perf_counter()
    now = begin
    while now - begin < seconds:
        json.dumps(detector.answer(jpeg)).encode()
        times.append(time.perf_counter() - now)
        now += times[-1]
    out.send((len(times), now - begin, times, time.process_time() - cpu))


def main() -> None:
    """Start all processes at one moment and add up what they did."""
    with open(sys.argv[1], "rb") as file:
        jpeg = file.read()
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES)
    pipes = [context.Pipe(duplex=False) for _ in range(PROCESSES)]
    workers = [context.Process(target=work, args=(jpeg, float(sys.argv[2]), start, sender)) for _, sender in pipes]
    for worker in workers:
        worker.start()
    parts = [receiver.recv() for receiver, _ in pipes]
    for worker in workers:
        worker.join()
    times = sorted(t for part in parts for t in part[2])
    answer = {
        "requests": len(times),
        "rate": sum(part[0] / part[1] for part in parts),
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[int(len(times) * 0.99)] * 1000,
        "cpu_s": sum(part[3] for part in parts),
    }
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
