"""Clients that go on whatever happens, and write down what they were told."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import aiohttp

from tests.history import History, State
from tests.integration.processes import poll_job, post_job

#: What a gateway may say while something behind it is away; the job was not accepted then.
REFUSALS = (429, 503)


class Load:
    """Asynchronous jobs sent one after the other by a few clients until `stop`, and what became of them."""

    def __init__(self, client: aiohttp.ClientSession, clients: int = 4) -> None:
        self.history = History()
        self.urls: list[str] = []
        self.refused = 0
        self._client = client
        self._numbers = itertools.count()
        self._stopping = False
        self._progress = asyncio.Condition()
        self._tasks = [asyncio.create_task(self._send()) for _ in range(clients)]

    async def accepted(self, count: int, seconds: float = 60.0) -> None:
        """Until so many more jobs are accepted than are now. Raises at once what a client met that it must not meet."""
        goal = len(self.urls) + count
        progress = asyncio.create_task(self._reaches(goal, seconds))
        done, _ = await asyncio.wait((progress, *self._tasks), return_when=asyncio.FIRST_COMPLETED)
        progress.cancel()
        for task in done:
            task.result()

    async def _reaches(self, goal: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds), self._progress:
                await self._progress.wait_for(lambda: len(self.urls) >= goal)
        except TimeoutError:
            raise AssertionError(f"{len(self.urls)} of {goal} jobs were accepted in {seconds:g} s, {self.refused} refused") from None

    async def stop(self) -> None:
        """Send nothing more, then follow every accepted job to its end. Raises what a client met that it must not meet."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        for start in range(0, len(self.urls), 50):
            await asyncio.gather(*(self._follow(url) for url in self.urls[start : start + 50]))

    async def _send(self) -> None:
        while not self._stopping:
            status, job = await post_job(self._client, "dummy", {"echo": str(next(self._numbers))})
            if status in REFUSALS:
                self.refused += 1
                await asyncio.sleep(0.05)
                continue
            assert status == 202, job
            self.history.record(job["url"], State.ACCEPTED)
            async with self._progress:
                self.urls.append(job["url"])
                self._progress.notify_all()

    async def _follow(self, url: str) -> None:
        document = await poll_job(self._client, url, 90)
        record_end(self.history, url, document)


def record_end(history: History, url: str, document: dict[str, Any], **frame: Any) -> None:
    """The end of a job as a client saw it."""
    if document["status"] in (200, 201):
        history.record(url, State.DONE, value=document.get("echo") or document.get("mark"), **frame)
    else:
        history.record(url, State.FAILED, value=document.get("code"))
