"""One request, however often it has to be sent."""

from __future__ import annotations

import uuid
from typing import Optional

import httpx

from angus.errors import Unreachable
from angus.retries import LATER, Retries, retry_after_of

#: The request cannot have arrived.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


class Attempts:
    """Decides after each attempt whether there is another, and under which Idempotency-Key."""

    def __init__(self, retries: Retries, url: str, *, safe: bool, key: Optional[str] = None) -> None:
        """``safe``: sending twice does no harm, because of what the request is or because it has a ``key``."""
        self._retries, self._url, self._safe = retries, url, safe or key is not None
        self._sent = 0
        self.key = key

    def headers(self) -> dict[str, str]:
        return {"Idempotency-Key": self.key} if self.key else {}

    def answered(self, response: httpx.Response) -> Optional[float]:
        """Seconds before the request is to be sent again, or None: this is the answer. The response has been read."""
        self._sent += 1
        if response.status_code not in LATER:
            return None
        pause = self._retries.pause(self._sent, retry_after_of(response.headers))
        if pause is not None and self.key is not None and b'"url"' in response.content:
            self.key = new_key()  # a job was made and failed; under the old key the server would tell of it again
        return pause

    def failed(self, error: httpx.TransportError) -> float:
        """Seconds before the request is to be sent again after it brought no answer. Raises `Unreachable`."""
        self._sent += 1
        if _UNTRUSTED in str(error):
            raise Unreachable(
                f"the certificate of {self._url} is signed by nobody whom this machine trusts: name the certificate of your"
                f" authority as ca_path in the configuration (angusme) or with set_ca_path ({error})"
            ) from None
        pause = self._retries.pause(self._sent, None) if self._safe or isinstance(error, _NEVER_SENT) else None
        if pause is None:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"no answer from {self._url} ({reason}); is it the right address, and does Sensorium run there?") from None
        return pause


def new_key() -> str:
    """An Idempotency-Key that nobody else has."""
    return uuid.uuid4().hex
