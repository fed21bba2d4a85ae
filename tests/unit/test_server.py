"""A connection that waits for a result."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from gateway.http.server import ConnectionGuard, GuardedHandler
from shared.settings import read_settings


async def test_a_client_may_leave_in_the_turn_in_which_its_time_is_over() -> None:
    """Its time-out is past changing then, and the connection has to be cleared up all the same."""
    server = web.Server(lambda _: web.Response())  # type: ignore[arg-type,return-value]
    handler = GuardedHandler(server, ConnectionGuard(read_settings({})), loop=asyncio.get_running_loop())
    lost = asyncio.get_running_loop().create_future()

    def leave(limit: asyncio.Timeout) -> None:
        if not limit.expired():
            asyncio.get_running_loop().call_soon(leave, limit)
            return
        try:
            lost.set_result(handler.connection_lost(None))
        except RuntimeError as error:
            lost.set_exception(error)

    async def wait() -> None:
        async with asyncio.timeout(None) as limit:
            with handler.waits(limit):
                limit.reschedule(asyncio.get_running_loop().time() + 0.01)
                leave(limit)
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait()
    assert await lost is None
