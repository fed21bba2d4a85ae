"""Pictures over HTTP, one after the other, as IP cameras give them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import cv2
import numpy as np
from aiohttp import web

SIZE = (64, 48)
_LOST_AFTER = 6


@dataclass
class MotionJpeg:
    """A camera at ``address``. Every connection shows another grey. A ``failing`` one drops its first connection in the middle of a
    picture, turns the second away, and is well from the third on."""

    failing: bool
    connections: int = 0
    address: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        if self.failing and self.connections == 2:
            raise web.HTTPServiceUnavailable
        response = web.StreamResponse(headers={"Content-Type": "multipart/x-mixed-replace; boundary=frame"})
        await response.prepare(request)
        data = cv2.imencode(".jpg", np.full((SIZE[1], SIZE[0], 3), 40 * self.connections, np.uint8))[1].tobytes()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        for _ in range(_LOST_AFTER if self.failing and self.connections == 1 else 1_000_000):
            await response.write(head + data + b"\r\n")
            await asyncio.sleep(0.03)
        await response.write(head + data[: len(data) // 2])
        assert request.transport is not None
        request.transport.abort()
        return response


@asynccontextmanager
async def motion_jpeg(*, failing: bool) -> AsyncIterator[MotionJpeg]:
    """The camera, on a free port of this machine."""
    made = MotionJpeg(failing)
    app = web.Application()
    app.router.add_get("/video", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.address = f"{site.name}/video"
    try:
        yield made
    finally:
        await runner.cleanup()
