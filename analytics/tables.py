"""The tables of visits, as SQLAlchemy maps them. A change here needs a migration; a test compares the two.

Times are whole milliseconds, so that sums are exact and the same in every database.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Float, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from database.tables import Base

HOUR_MS = 3_600_000


class VisitRow(Base):
    """A visit (`shared.visits.Visit`). ``started`` by the camera's clock, ``revised`` (last written) by ours: milliseconds since 1970."""

    __tablename__ = "visits"
    __table_args__ = (Index("ix_visits_stream_started", "stream", "started", "id"),)  # the order of lists of visits

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    stream: Mapped[str] = mapped_column(ForeignKey("streams.client_id", ondelete="CASCADE"))
    started: Mapped[int] = mapped_column(BigInteger)
    view_ms: Mapped[int] = mapped_column(BigInteger)
    stop_ms: Mapped[int] = mapped_column(BigInteger)
    attention_ms: Mapped[int] = mapped_column(BigInteger)
    age: Mapped[float | None] = mapped_column(Float)
    gender: Mapped[str | None] = mapped_column(String(6))
    happiness: Mapped[int | None] = mapped_column(Integer)
    direction: Mapped[str] = mapped_column(String(7))
    closed: Mapped[bool] = mapped_column(Boolean)
    revised: Mapped[int] = mapped_column(BigInteger)


class HourRow(Base):
    """What the visits that began in one hour (``hour``: milliseconds since 1970 of its start) of a stream add up to.

    The columns after the key are `analytics.totals.COLUMNS`.
    """

    __tablename__ = "visit_hours"

    stream: Mapped[str] = mapped_column(ForeignKey("streams.client_id", ondelete="CASCADE"), primary_key=True)
    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    visits: Mapped[int] = mapped_column(BigInteger)
    passing_by: Mapped[int] = mapped_column(BigInteger)
    watchers: Mapped[int] = mapped_column(BigInteger)
    dwell_ms: Mapped[int] = mapped_column(BigInteger)
    watched_ms: Mapped[int] = mapped_column(BigInteger)
    interested: Mapped[int] = mapped_column(BigInteger)
    stop_ms: Mapped[int] = mapped_column(BigInteger)
    attention_ms: Mapped[int] = mapped_column(BigInteger)
    female: Mapped[int] = mapped_column(BigInteger)
    male: Mapped[int] = mapped_column(BigInteger)
    young_female: Mapped[int] = mapped_column(BigInteger)
    young_male: Mapped[int] = mapped_column(BigInteger)
    senior_female: Mapped[int] = mapped_column(BigInteger)
    senior_male: Mapped[int] = mapped_column(BigInteger)
    happiness: Mapped[int] = mapped_column(BigInteger)
    happy_count: Mapped[int] = mapped_column(BigInteger)


class RollUpRow(Base):
    """How the roll-ups were made: one row. ``definition``: the version of the metrics; ``senior_age``: where seniors begin, in years."""

    __tablename__ = "visit_roll_ups"

    definition: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    senior_age: Mapped[float] = mapped_column(Float)
