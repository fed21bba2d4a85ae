"""Which adapter stands behind a URL. Imported only when its scheme is asked for; nothing connects before that."""

from __future__ import annotations

import importlib
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from shared.ports import Broker, Stores
from shared.settings import Settings, SettingsError

#: The module below `shared.adapters` for each scheme of a URL.
_BROKERS = {"memory": "memory.broker", "amqp": "rabbitmq.broker", "amqps": "rabbitmq.broker"}
_STORES = {"memory": "memory.store", "redis": "redis.stores", "rediss": "redis.stores"}
#: The extra that brings an adapter's library.
_EXTRAS = {"rabbitmq": "rabbitmq", "redis": "redis"}


def open_broker(settings: Settings) -> AbstractAsyncContextManager[Broker]:
    """The broker of ``SENSORIUM_BROKER``. Raises `SettingsError` for a scheme that nobody speaks."""
    opened: Any = _adapter("BROKER", settings.broker, _BROKERS).open_broker(settings)
    return opened  # type: ignore[no-any-return]


def open_stores(settings: Settings, shard: int | None) -> AbstractAsyncContextManager[Stores]:
    """The stores of ``SENSORIUM_STORE``. ``shard``: whose events this process follows, None for a worker."""
    opened: Any = _adapter("STORE", settings.store, _STORES).open_stores(settings, shard)
    return opened  # type: ignore[no-any-return]


def _adapter(variable: str, url: str, known: dict[str, str]) -> ModuleType:
    scheme = urlsplit(url).scheme
    if scheme not in known:
        raise SettingsError(f"SENSORIUM_{variable}: {scheme or url!r} is not one of {', '.join(sorted(known))}")
    try:
        return importlib.import_module(f"shared.adapters.{known[scheme]}")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("shared."):
            raise
        technology = known[scheme].partition(".")[0]
        extra = _EXTRAS.get(technology, technology)
        raise SettingsError(
            f"SENSORIUM_{variable}={scheme}:// needs {error.name}; install it with: pip install 'sensorium[{extra}]'"
        ) from None
