"""Who a request comes from: what the gateway asks and what it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from shared.privacy import Analysis
from shared.usage import Allowance


@dataclass(frozen=True, slots=True)
class Tenant:
    """A stream that proved itself. ``id`` is its client_id; ``account`` the identifier of the account that owns it.

    ``allowance``: what its plan allows; ``off``: the analyses of people that it has switched off; ``fingerprint`` changes with its access
    token.
    """

    id: str
    account: str
    allowance: Allowance
    off: tuple[Analysis, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A stream as it is now. ``email_key`` is its account's (`accounts.model.email_key`); ``fingerprint`` changes with its access token.

    ``off``: the analyses that it has switched off.
    """

    account: str
    email_key: str
    fingerprint: str
    off: tuple[Analysis, ...] = ()


class Credentials(Protocol):
    """Checks the credentials of streams."""

    async def verify(self, client_id: str, access_token: str) -> Tenant | None:
        """The stream behind these credentials; None, after the same work, for an unknown id and for a wrong token.

        Raises `shared.errors.Unavailable` when nobody can say at the moment.
        """

    async def tenant(self, client_id: str) -> Tenant | None:
        """The stream as it is now, for those who knew it before; None when it is gone. Raises like `verify`."""
