"""How httpx is told to connect."""

from __future__ import annotations

import base64
import ssl
from typing import Optional, Union

import httpx

from angus.errors import ConfigurationError

#: Seconds: to connect; for an answer (the server holds a request for 60); for which a job that takes longer is waited for in all.
CONNECT_SECONDS, ANSWER_SECONDS, JOB_SECONDS = 10.0, 90.0, 600.0
#: Seconds for which one request asks the server to hold its answer while a job is not finished.
HOLD_SECONDS = 30.0


def timeouts(seconds: Optional[float]) -> httpx.Timeout:
    """Those of a request; ``seconds`` for an answer, None for the default."""
    return httpx.Timeout(seconds or ANSWER_SECONDS, connect=min(seconds or CONNECT_SECONDS, CONNECT_SECONDS))


def hold(left: float, timeout: Optional[float]) -> dict[str, str]:
    """The header that asks the server to wait for a job: no longer than is ``left``, and well within the time-out."""
    return {"Prefer": f"wait={max(1, round(min(left, HOLD_SECONDS, (timeout or ANSWER_SECONDS) / 2)))}"}


def tls(verify: Union[bool, str]) -> Union[bool, ssl.SSLContext]:
    """What httpx is told: whether to verify, or the file of the certificates to trust. Raises `ConfigurationError` for an unusable file."""
    if isinstance(verify, bool):
        return verify
    try:
        return ssl.create_default_context(cafile=verify)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"ca_path: {verify} holds no certificates that can be used ({error})") from None


def context(verify: Union[bool, ssl.SSLContext]) -> ssl.SSLContext:
    """The same trust as that of httpx, for connections that it does not make."""
    return verify if isinstance(verify, ssl.SSLContext) else httpx.create_ssl_context(verify=verify)


def basic(credentials: Optional[tuple[str, str]]) -> dict[str, str]:
    """The header of Basic authentication."""
    if credentials is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(":".join(credentials).encode()).decode()}
