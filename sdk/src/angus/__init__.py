"""Client of Sensorium, and of everything else that speaks the API of angus.ai.

`angus.client` is the client of 2018, call by call; `angus.aio` is the same for asyncio, with streams of frames over WebSockets;
`angus.results` has the answers as dataclasses, `angus.errors` what can go wrong.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from angus.version import __version__

if TYPE_CHECKING:
    from angus.client.cloud import Root

__all__ = ["__version__", "connect"]


def connect(*args: Any, **kwargs: Any) -> Root:
    """The older name of `angus.client.connect`, kept because programs use it."""
    import angus.client

    logging.getLogger("angus").warning("angus.connect is the old name of angus.client.connect")
    return angus.client.connect(*args, **kwargs)
