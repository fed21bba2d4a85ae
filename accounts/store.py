"""Accounts and their streams in the database."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from accounts.credentials import Proof, Tenant
from accounts.errors import AccountUnknown, EmailInvalid, EmailTaken, StreamLimitReached
from accounts.keys import secret_of
from accounts.model import DEMO_EMAIL, DEMO_SECRET, Account, Plan, Stream, StreamSecret, clean_email, clean_name, email_key, is_client_id
from accounts.passwords import Passwords
from accounts.plans import Plans, limits_of
from accounts.tables import SWITCHES, AccountRow, LoginRow, PlanRow, StreamRow, off_of
from accounts.tokens import TokenVault, new_secret
from accounts.usage import Ledger
from database.engine import Database
from shared.privacy import ANALYSES, Analysis
from shared.settings import Settings

#: Asked for in place of what cannot be a client_id; never given to anybody.
_NOBODY = str(uuid.UUID(int=0))


class Accounts:
    """Every method may raise `shared.errors.StoreAway`. Accounts are named by e-mail address, in any case.

    ``database`` is for what lies beside the accounts. ``demo_allowed``: the published credentials and the account of the demonstration work; see `accounts.demo`.
    ``plans``: the limits of the plans; ``ledger``: what was used of them.
    """

    def __init__(self, database: Database, vault: TokenVault, passwords: Passwords, *, demo_allowed: bool) -> None:
        self.database = database
        self._vault = vault
        self._passwords = passwords
        self.demo_allowed = demo_allowed
        self.plans, self.ledger = Plans(database), Ledger(database)

    async def ping(self) -> None:
        """Raise `StoreAway` unless the database answers and is set up."""
        await self.database.ping()

    # Accounts

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
            account = await _find(session, email, lock=True)
            account.password_hash = password_hash
            await session.execute(delete(LoginRow).where(LoginRow.account_id == account.id))

    async def set_plan(self, email: str, plan: Plan) -> None:
        """Raises `AccountUnknown`. Streams beyond the new plan stay; there can only be no further ones."""
        async with self.database.writing() as session:
            (await _find(session, email, lock=True)).plan = plan.value

    async def set_operator(self, email: str, *, operator: bool) -> None:
        """Grant or take the role of an operator. Raises `AccountUnknown`."""
        async with self.database.writing() as session:
            (await _find(session, email, lock=True)).operator = operator

    async def accounts(self) -> list[Account]:
        """Every account, the oldest first."""
        async with self.database.reading() as session:
            rows = await session.scalars(select(AccountRow).order_by(AccountRow.created, AccountRow.id))
            return [row.noun() for row in rows]

    async def delete_account(self, email: str) -> None:
        """Delete the account, its streams with their visits, and its logins. Raises `AccountUnknown`."""
        async with self.database.writing() as session:
            await session.delete(await _find(session, email))

    # Streams

    async def add_stream(self, email: str, name: str) -> StreamSecret:
        """A new stream of this account. Raises `AccountUnknown`, `NameInvalid`, `StreamLimitReached`."""
        secret, name = new_secret(), clean_name(name)
        async with self.database.writing() as session:
            account = await _find(session, email, lock=True)
            count = select(func.count()).select_from(StreamRow).where(StreamRow.account_id == account.id)
            most = limits_of(Plan(account.plan), await session.get(PlanRow, account.plan)).streams
            if most is not None and (await session.scalar(count) or 0) >= most:
                raise StreamLimitReached(account.plan, most)
            session.add(self._stream_row(account, name, secret))
        return secret

    async def put_demo_stream(self, email: str, name: str) -> StreamSecret:
        """The stream with the published credentials, made or made right again. Raises `AccountUnknown`."""
        async with self.database.writing() as session:
            account = await _find(session, email, lock=True)
            await session.merge(self._stream_row(account, clean_name(name), DEMO_SECRET))
        return DEMO_SECRET

    async def streams(self, email: str) -> list[Stream]:
        """The streams of this account, the oldest first. Raises `AccountUnknown`."""
        async with self.database.reading() as session:
            account = await _find(session, email)
            mine = select(StreamRow).where(StreamRow.account_id == account.id).order_by(StreamRow.created, StreamRow.client_id)
            return [row.noun() for row in await session.scalars(mine)]

    async def stream(self, account: str, client_id: str) -> Stream | None:
        """The stream with this client_id, if it is one of the account with this id."""
        if not is_client_id(client_id):
            return None
        async with self.database.reading() as session:
            row = await session.get(StreamRow, client_id)
            return row.noun() if row is not None and row.account_id == account else None

    async def rename_stream(self, stream: Stream, name: str) -> None:
        """Nothing happens to a stream that is gone. Raises `NameInvalid`."""
        name = clean_name(name)
        async with self.database.writing() as session:
            await session.execute(update(StreamRow).where(*_mine(stream)).values(name=name))

    async def delete_stream(self, stream: Stream) -> None:
        """Delete the stream, its credentials and its visits."""
        async with self.database.writing() as session:
            await session.execute(delete(StreamRow).where(*_mine(stream)))

    async def rotate(self, stream: Stream) -> StreamSecret | None:
        """A new access token in place of the old one, which is void from now on; None when the stream is gone."""
        secret = StreamSecret(stream.client_id, new_secret().access_token)
        new = {"token_digest": self._vault.digest(secret.client_id, secret.access_token), "token_sealed": self._vault.seal(secret)}
        async with self.database.writing() as session:
            changed = await session.scalar(update(StreamRow).where(*_mine(stream)).values(**new).returning(StreamRow.client_id))
        return None if changed is None else secret

    async def set_off(self, stream: Stream, off: Collection[Analysis]) -> None:
        """Switch these analyses of people off, and all others on. Nothing happens to a stream that is gone."""
        switches = {name: name not in off for name in ANALYSES}
        async with self.database.writing() as session:
            await session.execute(update(StreamRow).where(*_mine(stream)).values(**switches))

    async def reveal(self, stream: Stream) -> StreamSecret | None:
        """The credentials of a stream; None when it is gone. Raises `SecretKeyChanged`."""
        mine = select(StreamRow.token_sealed).where(*_mine(stream))
        async with self.database.reading() as session:
            sealed = await session.scalar(mine)
        return None if sealed is None else self._vault.unseal(stream.client_id, sealed)

    async def verify(self, client_id: str, access_token: str) -> Tenant | None:
        """See `accounts.credentials.Credentials`. The published credentials are unknown unless the demonstration is allowed."""
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
        found = found.join(AccountRow, AccountRow.id == StreamRow.account_id).outerjoin(PlanRow, PlanRow.name == AccountRow.plan)
        async with self.database.reading() as session:
            return (await session.execute(found.where(StreamRow.client_id == client_id))).one_or_none()

    def _tenant(self, client_id: str, row: Any) -> Tenant | None:
        if row is None or (client_id == DEMO_SECRET.client_id and not self.demo_allowed):
            return None
        allowance = limits_of(Plan(row.plan), row.PlanRow).allowance
        return Tenant(client_id, row.account_id, allowance, off_of(row), _fingerprint(row.token_digest))

    async def proof_of(self, client_id: str) -> Proof | None:
        """What tokens for a stream are bound to; None when there is no such stream, or only for the demonstration that is not allowed."""
        chosen = select(AccountRow.id, AccountRow.email_key, StreamRow.token_digest, *SWITCHES)
        chosen = chosen.join(StreamRow, StreamRow.account_id == AccountRow.id)
        asked = client_id if is_client_id(client_id) else _NOBODY
        async with self.database.reading() as session:
            row = (await session.execute(chosen.where(StreamRow.client_id == asked))).one_or_none()
        if row is None or (asked == DEMO_SECRET.client_id and not self.demo_allowed):
            return None
        return Proof(row.id, row.email_key, _fingerprint(row.token_digest), off_of(row))

    def _stream_row(self, account: AccountRow, name: str, secret: StreamSecret) -> StreamRow:
        digest = self._vault.digest(secret.client_id, secret.access_token)
        sealed = self._vault.seal(secret)
        return StreamRow(client_id=secret.client_id, account_id=account.id, name=name, token_digest=digest, token_sealed=sealed)


def _fingerprint(token_digest: bytes) -> str:
    # Not the digest itself: tokens for the data API are seen by browsers and proxies.
    return blake2b(token_digest, digest_size=16, person=b"data-token").hexdigest()


async def _find(session: AsyncSession, email: str, *, lock: bool = False) -> AccountRow:
    chosen = select(AccountRow).where(AccountRow.email_key == email_key(email))
    row = await session.scalar(chosen.with_for_update() if lock else chosen)
    if row is None:
        raise AccountUnknown
    return row


def _mine(stream: Stream) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return StreamRow.client_id == stream.client_id, StreamRow.account_id == stream.account


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
