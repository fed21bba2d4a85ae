"""The streams of accounts, with their credentials, in the database."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, delete, func, select, update

from accounts.errors import StreamLimitReached
from accounts.finding import find_account
from accounts.model import DEMO_SECRET, Plan, Stream, StreamSecret, clean_name, is_client_id
from accounts.plans import limits_of
from accounts.tables import AccountRow, PlanRow, StreamRow
from accounts.tokens import TokenVault, new_secret
from database.engine import Database
from shared.privacy import ANALYSES, Analysis


class Streams:
    """Every method may raise `shared.errors.StoreAway`. Accounts are named by e-mail address, in any case."""

    def __init__(self, database: Database, vault: TokenVault) -> None:
        self._database, self._vault = database, vault

    async def add(self, email: str, name: str) -> StreamSecret:
        """A new stream of this account. Raises `AccountUnknown`, `NameInvalid`, `StreamLimitReached`."""
        secret, name = new_secret(), clean_name(name)
        async with self._database.writing() as session:
            account = await find_account(session, email, lock=True)
            count = select(func.count()).select_from(StreamRow).where(StreamRow.account_id == account.id)
            most = limits_of(Plan(account.plan), await session.get(PlanRow, account.plan)).streams
            if most is not None and (await session.scalar(count) or 0) >= most:
                raise StreamLimitReached(account.plan, most)
            session.add(self._stream_row(account, name, secret))
        return secret

    async def put_demo(self, email: str, name: str) -> StreamSecret:
        """The stream with the published credentials, made or made right again. Raises `AccountUnknown`."""
        async with self._database.writing() as session:
            account = await find_account(session, email, lock=True)
            await session.merge(self._stream_row(account, clean_name(name), DEMO_SECRET))
        return DEMO_SECRET

    async def of(self, email: str) -> list[Stream]:
        """The streams of this account, the oldest first. Raises `AccountUnknown`."""
        async with self._database.reading() as session:
            account = await find_account(session, email)
            mine = select(StreamRow).where(StreamRow.account_id == account.id)
            rows = await session.scalars(mine.order_by(StreamRow.created, StreamRow.client_id))
            return [row.noun() for row in rows]

    async def find(self, account: str, client_id: str) -> Stream | None:
        """The stream with this client_id, if it is one of the account with this id."""
        if not is_client_id(client_id):
            return None
        async with self._database.reading() as session:
            row = await session.get(StreamRow, client_id)
            return row.noun() if row is not None and row.account_id == account else None

    async def rename(self, stream: Stream, name: str) -> None:
        """Nothing happens to a stream that is gone. Raises `NameInvalid`."""
        name = clean_name(name)
        async with self._database.writing() as session:
            await session.execute(update(StreamRow).where(*_mine(stream)).values(name=name))

    async def delete(self, stream: Stream) -> None:
        """Delete the stream, its credentials and its visits."""
        async with self._database.writing() as session:
            await session.execute(delete(StreamRow).where(*_mine(stream)))

    async def rotate(self, stream: Stream) -> StreamSecret | None:
        """A new access token; the old one is void from now on. None when the stream is gone."""
        secret = StreamSecret(stream.client_id, new_secret().access_token)
        digest = self._vault.digest(secret.client_id, secret.access_token)
        change = update(StreamRow).where(*_mine(stream))
        change = change.values(token_digest=digest, token_sealed=self._vault.seal(secret))
        async with self._database.writing() as session:
            changed = await session.scalar(change.returning(StreamRow.client_id))
        return None if changed is None else secret

    async def set_off(self, stream: Stream, off: Collection[Analysis]) -> None:
        """Switch these analyses of people off, all others on. Nothing happens to a stream that is gone."""
        switches = {name: name not in off for name in ANALYSES}
        async with self._database.writing() as session:
            await session.execute(update(StreamRow).where(*_mine(stream)).values(**switches))

    async def reveal(self, stream: Stream) -> StreamSecret | None:
        """The credentials of a stream; None when it is gone. Raises `SecretKeyChanged`."""
        mine = select(StreamRow.token_sealed).where(*_mine(stream))
        async with self._database.reading() as session:
            sealed = await session.scalar(mine)
        return None if sealed is None else self._vault.unseal(stream.client_id, sealed)

    def _stream_row(self, account: AccountRow, name: str, secret: StreamSecret) -> StreamRow:
        digest = self._vault.digest(secret.client_id, secret.access_token)
        sealed = self._vault.seal(secret)
        row = StreamRow(client_id=secret.client_id, account_id=account.id, name=name)
        row.token_digest, row.token_sealed = digest, sealed
        return row


def _mine(stream: Stream) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return StreamRow.client_id == stream.client_id, StreamRow.account_id == stream.account
