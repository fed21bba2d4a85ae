"""Signatures as Standard Webhooks has them: HMAC-SHA256 over ``id.timestamp.body``, version v1.

A stream's secret is made from the installation's key, the stream and the number of times that it was changed, so that none is stored.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256

from accounts.keys import derive

_PREFIX = "whsec_"


class Secrets:
    """The signing secrets of an installation."""

    def __init__(self, key: bytes) -> None:
        self._key = derive(key, "webhooks")

    def of(self, stream: str, generation: int) -> bytes:
        """32 bytes."""
        return hmac.digest(self._key, f"{stream}/{generation}".encode(), sha256)


def shown(secret: bytes) -> str:
    """The secret as receivers' libraries take it."""
    return _PREFIX + b64encode(secret).decode()


def signed_headers(secrets: Sequence[bytes], message_id: str, at: int, body: bytes) -> dict[str, str]:
    """The three header fields. ``at`` in seconds since 1970. One signature a secret: while one is being changed both are valid."""
    content = f"{message_id}.{at}.".encode() + body
    signatures = [f"v1,{b64encode(hmac.digest(secret, content, sha256)).decode()}" for secret in secrets]
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}
