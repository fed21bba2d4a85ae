"""Checking the credentials of streams against the database."""

from __future__ import annotations

import uuid
from hashlib import blake2b
from typing import Any

from sqlalchemy import select

from accounts.credentials import Proof, Tenant
from accounts.model import DEMO_SECRET, Plan, is_client_id
from accounts.plans import limits_of
from accounts.tables import SWITCHES, AccountRow, PlanRow, StreamRow, off_of
from accounts.tokens import TokenVault
from database.engine import Database

#: Asked for in place of what cannot be a client_id; never given to anybody.
_NOBODY = str(uuid.UUID(int=0))


class CredentialCheck:
    """The `accounts.credentials.Credentials` of an installation.

    Every method may raise `shared.errors.StoreAway`.
    ``demo_allowed``: the published credentials work; see `accounts.demo`.
    """

    def __init__(self, database: Database, vault: TokenVault, *, demo_allowed: bool) -> None:
        self._database, self._vault, self._demo_allowed = database, vault, demo_allowed

    async def verify(self, client_id: str, access_token: str) -> Tenant | None:
        """See `accounts.credentials.Credentials`.

        The published credentials are unknown unless the demonstration is allowed.
        """
        asked = client_id if is_client_id(client_id) else _NOBODY
        row = await self._row(asked)
        right = self._vault.matches(asked, access_token, None if row is None else row.token_digest)
        return self._tenant(asked, row) if right else None

    async def tenant(self, client_id: str) -> Tenant | None:
        """See `accounts.credentials.Credentials`."""
        asked = client_id if is_client_id(client_id) else _NOBODY
        return self._tenant(asked, await self._row(asked))

    async def _row(self, client_id: str) -> Any:
        found = select(StreamRow.account_id, StreamRow.token_digest, *SWITCHES, AccountRow.plan, PlanRow)
        found = found.join(AccountRow, AccountRow.id == StreamRow.account_id)
        found = found.outerjoin(PlanRow, PlanRow.name == AccountRow.plan)
        async with self._database.reading() as session:
            return (await session.execute(found.where(StreamRow.client_id == client_id))).one_or_none()

    def _tenant(self, client_id: str, row: Any) -> Tenant | None:
        if row is None or (client_id == DEMO_SECRET.client_id and not self._demo_allowed):
            return None
        allowance = limits_of(Plan(row.plan), row.PlanRow).allowance
        return Tenant(client_id, row.account_id, allowance, off_of(row), _fingerprint(row.token_digest))

    async def proof_of(self, client_id: str) -> Proof | None:
        """What tokens for a stream are bound to.

        None when there is no such stream, or only for the demonstration that is not allowed.
        """
        chosen = select(AccountRow.id, AccountRow.email_key, StreamRow.token_digest, *SWITCHES)
        chosen = chosen.join(StreamRow, StreamRow.account_id == AccountRow.id)
        asked = client_id if is_client_id(client_id) else _NOBODY
        async with self._database.reading() as session:
            row = (await session.execute(chosen.where(StreamRow.client_id == asked))).one_or_none()
        if row is None or (asked == DEMO_SECRET.client_id and not self._demo_allowed):
            return None
        return Proof(row.id, row.email_key, _fingerprint(row.token_digest), off_of(row))


def _fingerprint(token_digest: bytes) -> str:
    # Not the digest itself: tokens for the data API are seen by browsers and proxies.
    return blake2b(token_digest, digest_size=16, person=b"data-token").hexdigest()
