"""Writing to a store that may be away for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from shared.errors import StoreAway
from shared.log import get_logger
from workers.runtime.batching import Work

log = get_logger(__name__)
T = TypeVar("T")

#: Pauses between tries to store a result, in seconds; when the store stays away longer, the job is requeued.
_STORE_PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)


async def with_retries(service: str, works: Sequence[Work], store: Callable[[], Awaitable[T]]) -> T | None:
    """What ``store`` returns; None after these works were requeued because the store stayed away."""
    for pause in (*_STORE_PAUSES, None):
        try:
            return await store()
        except StoreAway as error:
            log.warning("store.away", service=service, error=error.message, works=len(works))
            if pause is not None:
                await asyncio.sleep(pause)
    for work in works:
        work.delivery.reject(requeue=True)
    return None
