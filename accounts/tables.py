"""The tables of accounts, as SQLAlchemy maps them. A change here needs a migration; a test compares the two."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, Integer, LargeBinary, String, true
from sqlalchemy.orm import Mapped, mapped_column

from accounts.model import Account, Plan, Stream
from database.tables import Base, UtcDateTime, now
from shared.privacy import ANALYSES, Analysis


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


class PlanRow(Base):
    """The limits of a plan, where an operator changed them (`accounts.plans.DEFAULTS`); None without a limit."""

    __tablename__ = "plans"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    seconds: Mapped[int | None] = mapped_column(Integer)
    streams: Mapped[int | None] = mapped_column(Integer)


class UsageRow(Base):
    """Seconds of a stream on one day (numbered from 1970-01-01, UTC). They outlive the stream, which might be made anew for that."""

    __tablename__ = "usage"
    __table_args__ = (Index("ix_usage_account_day", "account_id", "day"),)

    stream: Mapped[str] = mapped_column(String(36), primary_key=True)
    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    seconds: Mapped[int] = mapped_column(Integer)


class StreamRow(Base):
    """``token_digest`` and ``token_sealed`` as `accounts.tokens.TokenVault` makes them. The analyses by their names: whether they are on."""

    __tablename__ = "streams"

    client_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    token_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    age: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    expression: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    gender: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    identification: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())

    def noun(self) -> Stream:
        return Stream(self.client_id, self.account_id, self.name, self.created, off_of(self))


#: Whether each analysis is on.
SWITCHES = tuple(getattr(StreamRow, name) for name in ANALYSES)


def off_of(row: Any) -> tuple[Analysis, ...]:
    """The analyses that a stream has switched off; of a row with `SWITCHES`."""
    return tuple(name for name in ANALYSES if not getattr(row, name))


class LoginRow(Base):
    """``digest``: of the word in the browser's cookie; see `accounts.logins`."""

    __tablename__ = "logins"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    begun: Mapped[datetime] = mapped_column(UtcDateTime)
    expires: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class GuessRow(Base):
    """``until``: milliseconds since 1970 up to which the tries of this subject are used up; see `accounts.guessing`."""

    __tablename__ = "guesses"

    subject: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    until: Mapped[int] = mapped_column(BigInteger, index=True)
