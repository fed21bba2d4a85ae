"""How an access token is kept: as a keyed digest to compare with, and encrypted so that its owner can see it again.

Both are bound to the client_id: somebody who can write to the database cannot move a token to another stream.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import uuid
from hashlib import blake2b

from cryptography.fernet import Fernet, InvalidToken

from accounts.errors import SecretKeyChanged
from accounts.keys import derive
from accounts.model import StreamSecret


def new_secret() -> StreamSecret:
    """Credentials that nobody has: random UUIDs, the form that programs of the reference expect (122 random bits each)."""
    return StreamSecret(str(uuid.uuid4()), str(uuid.uuid4()))


class TokenVault:
    """Digests and encrypts the access tokens of one installation."""

    def __init__(self, secret: bytes) -> None:
        self._digest_key = derive(secret, "access-token-digest")
        self._fernet = Fernet(base64.urlsafe_b64encode(derive(secret, "access-token-encryption")))
        self._nobodys = secrets.token_bytes(32)

    def digest(self, client_id: str, access_token: str) -> bytes:
        """The 32 bytes to compare: keyed BLAKE2b (RFC 7693) of both. ``client_id`` is a UUID, so of fixed length."""
        # Programs may send anything, lone surrogates too.
        message = f"{client_id}:{access_token}".encode("utf-8", "surrogatepass")
        return blake2b(message, key=self._digest_key, digest_size=32).digest()

    def matches(self, client_id: str, access_token: str, stored: bytes | None) -> bool:
        """Whether the token is the one of the stored digest, in constant time; None (no such stream) takes the same time."""
        same = hmac.compare_digest(self.digest(client_id, access_token), self._nobodys if stored is None else stored)
        return same and stored is not None

    def seal(self, secret: StreamSecret) -> bytes:
        """The credentials encrypted and authenticated (Fernet: AES-128-CBC and HMAC-SHA256)."""
        return self._fernet.encrypt(f"{secret.client_id}:{secret.access_token}".encode())

    def unseal(self, client_id: str, sealed: bytes) -> StreamSecret:
        """The credentials of this stream. Raises `SecretKeyChanged` when these bytes were not sealed here for it."""
        try:
            owner, _, access_token = self._fernet.decrypt(sealed).decode().partition(":")
        except InvalidToken:
            raise SecretKeyChanged from None
        if owner != client_id:
            raise SecretKeyChanged
        return StreamSecret(client_id, access_token)
