"""The tables of accounts, as SQLAlchemy maps them. A change here needs a migration; a test compares the two."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from accounts.model import Account, Plan, Stream
from database.tables import Base, UtcDateTime, now


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
