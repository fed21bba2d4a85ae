"""The tables, as SQLAlchemy maps them. A change here needs a migration; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, ForeignKey, LargeBinary, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from accounts.model import Account, Plan, Stream


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. SQLite keeps no zone, so what comes from there is said to be UTC, as which it was written."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can change it later on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class AccountRow(Base):
    """``email_key`` is `accounts.model.email_key` of ``email``: databases disagree on what upper case is.

    Folding makes up to three characters of one.
    """

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(762), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    plan: Mapped[str] = mapped_column(String(32))
    operator: Mapped[bool]
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    def noun(self) -> Account:
        return Account(self.id, self.email, Plan(self.plan), self.created, self.operator)


class StreamRow(Base):
    """``token_digest`` and ``token_sealed`` as `accounts.tokens.TokenVault` makes them."""

    __tablename__ = "streams"

    client_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    token_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    def noun(self) -> Stream:
        return Stream(self.client_id, self.account_id, self.name, self.created)
