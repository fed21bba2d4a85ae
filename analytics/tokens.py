"""Tokens for the data API: JSON Web Tokens bound to a stream, its account and its present credentials (RFC 7519, RFC 8725)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import jwt

from accounts.credentials import Proof
from accounts.keys import derive
from shared.errors import TokenRefused

_ALGORITHM = "HS256"
_AUDIENCE = "data"
_ISSUER = "sensorium"
_MOST_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: the stream (client_id), its account, and the fingerprint of its credentials when it was made."""

    stream: str
    account: str
    fingerprint: str

    def hold(self, proof: Proof | None) -> bool:
        """Whether they are still true of the stream."""
        return proof is not None and (proof.account, proof.fingerprint) == (self.account, self.fingerprint)


class DataTokens:
    """Makes and reads the tokens of one installation."""

    def __init__(self, secret: bytes, seconds: float) -> None:
        """``seconds``: how long a token is valid."""
        self._key = derive(secret, "data-token")
        self._seconds = seconds

    def issue(self, stream: str, proof: Proof) -> str:
        """A token for the holder of the stream's credentials."""
        now = int(time.time())
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": stream,
            "account": proof.account,
            "credentials": proof.fingerprint,
            "username": proof.email_key,
            "iat": now,
            "orig_iat": now,
            "exp": now + int(self._seconds),
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def read(self, token: str) -> Claims:
        """What the token says. Raises `TokenRefused`, which says what is wrong with it."""
        if len(token) > _MOST_CHARACTERS:
            raise TokenRefused("The token is too long to be one of ours")
        required = ["exp", "iat", "aud", "iss", "sub", "account", "credentials"]
        try:
            claims = jwt.decode(
                token, self._key, algorithms=[_ALGORITHM], audience=_AUDIENCE, issuer=_ISSUER, options={"require": required}
            )
        except jwt.ExpiredSignatureError:
            raise TokenRefused("The token has expired; get another one from /api-token-authstream/") from None
        except (jwt.InvalidTokenError, ValueError) as error:
            raise TokenRefused(f"The token is not valid: {error}") from None
        found = (claims["sub"], claims["account"], claims["credentials"])
        if not all(isinstance(value, str) for value in found):
            raise TokenRefused("The token is not valid: a claim is of the wrong type")
        return Claims(*found)
