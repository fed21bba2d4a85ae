"""Who a request comes from: what the gateway asks and what it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Tenant:
    """A stream that proved itself. ``id`` is its client_id; ``account`` the identifier of the account that owns it."""

    id: str
    account: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A stream as it is now. ``email_key`` is its account's (`accounts.model.email_key`); ``fingerprint`` changes with its access token."""

    account: str
    email_key: str
    fingerprint: str


class Credentials(Protocol):
    """Checks the credentials of streams."""

    async def verify(self, client_id: str, access_token: str) -> Tenant | None:
        """The stream behind these credentials; None, after the same work, for an unknown id and for a wrong token.

        Raises `shared.errors.Unavailable` when nobody can say at the moment.
        """
