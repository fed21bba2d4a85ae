"""The tables of webhooks, as SQLAlchemy maps them. A change here needs a migration; a test compares the two."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from database.tables import Base


class DeliveryRow(Base):
    """See `webhooks.model.Delivery`. ``body`` is there from the job's end until the delivery's.

    ``next_at``: when there is something to do: look for the result, try again, or, at the end, forget.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_state_next_at", "state", "next_at"),
        Index("ix_webhook_deliveries_stream_state", "stream", "state"),
        Index("ix_webhook_deliveries_endpoint_state", "endpoint", "state"),
    )

    job_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    stream: Mapped[str] = mapped_column(ForeignKey("streams.client_id", ondelete="CASCADE"))
    endpoint: Mapped[bytes] = mapped_column(LargeBinary(16))
    url: Mapped[str] = mapped_column(Text)
    job_url: Mapped[str] = mapped_column(Text)
    synchronous: Mapped[bool]
    created: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    next_at: Mapped[int] = mapped_column(BigInteger)
    finished: Mapped[int] = mapped_column(BigInteger)
    lease: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int]
    status: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(String(200))
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


class DisabledRow(Base):
    """A receiver that answered 410: nothing is sent to it until its stream's owner enables it again."""

    __tablename__ = "webhook_disabled"

    endpoint: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    stream: Mapped[str] = mapped_column(ForeignKey("streams.client_id", ondelete="CASCADE"), index=True)
    url: Mapped[str] = mapped_column(Text)
    since: Mapped[int] = mapped_column(BigInteger)


class SecretRow(Base):
    """How often a stream's signing secret was changed, and when last; without a row never. See `webhooks.signing`."""

    __tablename__ = "webhook_secrets"

    stream: Mapped[str] = mapped_column(ForeignKey("streams.client_id", ondelete="CASCADE"), primary_key=True)
    generation: Mapped[int]
    changed: Mapped[int] = mapped_column(BigInteger)
