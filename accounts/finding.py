"""Finding the row of an account inside a session of the database."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from accounts.errors import AccountUnknown
from accounts.model import email_key
from accounts.tables import AccountRow


async def find_account(session: AsyncSession, email: str, *, lock: bool = False) -> AccountRow:
    """The account with this e-mail address; with ``lock``, others wait for it. Raises `AccountUnknown`."""
    chosen = select(AccountRow).where(AccountRow.email_key == email_key(email))
    row = await session.scalar(chosen.with_for_update() if lock else chosen)
    if row is None:
        raise AccountUnknown
    return row
