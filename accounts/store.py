"""Accounts in the database, and the way to what belongs to them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from accounts.checking import CredentialCheck
from accounts.errors import EmailInvalid, EmailTaken
from accounts.finding import find_account
from accounts.keys import secret_of
from accounts.model import DEMO_EMAIL, Account, Plan, clean_email, email_key
from accounts.passwords import Passwords
from accounts.plans import Plans
from accounts.streams import Streams
from accounts.tables import AccountRow, LoginRow
from accounts.tokens import TokenVault
from accounts.usage import Ledger
from database.engine import Database
from shared.settings import Settings


class Accounts:
    """Every method may raise `shared.errors.StoreAway`. Accounts are named by e-mail address, in any case.

    ``demo_allowed``: the published credentials and the demonstration's account work; see `accounts.demo`.
    """

    def __init__(self, database: Database, vault: TokenVault, passwords: Passwords, *, demo_allowed: bool) -> None:
        #: For what lies beside the accounts.
        self.database = database
        self._passwords = passwords
        self.demo_allowed = demo_allowed
        #: The streams of the accounts, and the check of their credentials.
        self.streams = Streams(database, vault)
        self.credentials = CredentialCheck(database, vault, demo_allowed=demo_allowed)
        #: The limits of the plans, and what was used of them.
        self.plans, self.ledger = Plans(database), Ledger(database)

    async def ping(self) -> None:
        """Raise `StoreAway` unless the database answers and is set up."""
        await self.database.ping()

    async def create_account(self, email: str, password: str, plan: Plan = Plan.DEVELOPER, *, operator: bool = False) -> Account:
        """Raises `EmailInvalid`, `EmailTaken`, `PasswordRefused`."""
        row = AccountRow(id=str(uuid.uuid4()), email=clean_email(email), email_key=email_key(email), plan=plan.value, operator=operator)
        row.password_hash = await self._passwords.hash(password)
        try:
            async with self.database.writing() as session:
                session.add(row)
        except IntegrityError:
            raise EmailTaken from None
        return row.noun()

    async def check_password(self, email: str, password: str) -> Account | None:
        """The account with this e-mail address and password; None, after the same work, if either is wrong."""
        try:
            key = email_key(email)
        except EmailInvalid:
            key = ""
        async with self.database.reading() as session:
            row = await session.scalar(select(AccountRow).where(AccountRow.email_key == key))
        right = await self._passwords.matches(None if row is None else row.password_hash, password)
        allowed = self.demo_allowed or key != DEMO_EMAIL
        return row.noun() if row is not None and right and allowed else None

    async def set_password(self, email: str, password: str) -> None:
        """Signs the account out everywhere. Raises `AccountUnknown`, `PasswordRefused`."""
        password_hash = await self._passwords.hash(password)
        async with self.database.writing() as session:
            account = await find_account(session, email, lock=True)
            account.password_hash = password_hash
            await session.execute(delete(LoginRow).where(LoginRow.account_id == account.id))

    async def set_plan(self, email: str, plan: Plan) -> None:
        """Raises `AccountUnknown`. Streams beyond the new plan stay; there can only be no further ones."""
        async with self.database.writing() as session:
            (await find_account(session, email, lock=True)).plan = plan.value

    async def set_operator(self, email: str, *, operator: bool) -> None:
        """Grant or take the role of an operator. Raises `AccountUnknown`."""
        async with self.database.writing() as session:
            (await find_account(session, email, lock=True)).operator = operator

    async def accounts(self) -> list[Account]:
        """Every account, the oldest first."""
        async with self.database.reading() as session:
            rows = await session.scalars(select(AccountRow).order_by(AccountRow.created, AccountRow.id))
            return [row.noun() for row in rows]

    async def delete_account(self, email: str) -> None:
        """Delete the account, its streams with their visits, and its logins. Raises `AccountUnknown`."""
        async with self.database.writing() as session:
            await session.delete(await find_account(session, email))


@asynccontextmanager
async def open_accounts(settings: Settings, *, allow_demo: bool = False) -> AsyncIterator[Accounts]:
    """The accounts of this installation; connects when first used. Raises `SettingsError` for what is unusable.

    ``allow_demo`` is for embedded mode bound to loopback only: it lets in whoever has read the tutorial.
    """
    vault = TokenVault(secret_of(settings))
    database = Database(settings.database_url, settings.store_seconds)
    try:
        yield Accounts(database, vault, Passwords(most_waiting=settings.passwords_waiting), demo_allowed=allow_demo)
    finally:
        await database.close()
