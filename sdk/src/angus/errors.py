"""What can go wrong between a program and Sensorium, as exceptions.

All are `OSError`s, as those of the 2018 client were: a program that caught ``IOError`` still does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional


class AngusError(OSError):
    """Base of everything that this package raises by itself."""


class ConfigurationError(AngusError):
    """The address or the credentials are missing or cannot be read; run ``angusme``."""


class NoSuchService(AngusError, LookupError):
    """The server knows no service of this name and version."""


class Unreachable(AngusError):
    """Nothing answered, or the answer broke off."""


class StillRunning(AngusError, TimeoutError):
    """The job was not finished in the time that the caller gave it; it goes on, and can be asked for again."""


class ApiError(AngusError):
    """The server answered with an error.

    ``status`` is the HTTP status, ``code`` the error's name (``quota_exceeded``), ``message`` a sentence, ``parameter`` the input at
    fault, ``retry_after`` the seconds after which trying again makes sense, ``url`` the job's address if one was made, ``document``
    the whole answer.
    """

    def __init__(self, status: int, document: Mapping[str, Any], retry_after: Optional[float] = None) -> None:
        self.status = status
        self.document = dict(document)
        self.code = _text(document.get("code")) or f"http_{status}"
        self.message = _text(document.get("error")) or f"the server answered {status}"
        self.parameter = _text(document.get("parameter"))
        self.url = _text(document.get("url"))
        self.retry_after = retry_after
        super().__init__(f"{self.message} ({status} {self.code})")


def _text(value: Any) -> Optional[str]:
    return value if isinstance(value, str) else None
