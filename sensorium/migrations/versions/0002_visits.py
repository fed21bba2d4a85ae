"""Visits and their roll-ups by the hour"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SUMS = (
    "visits",
    "passing_by",
    "watchers",
    "dwell_ms",
    "watched_ms",
    "interested",
    "stop_ms",
    "attention_ms",
    "female",
    "male",
    "young_female",
    "young_male",
    "senior_female",
    "senior_male",
    "happiness",
    "happy_count",
)


def upgrade() -> None:
    op.create_table(
        "visits",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("stream", sa.String(36), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("view_ms", sa.BigInteger(), nullable=False),
        sa.Column("stop_ms", sa.BigInteger(), nullable=False),
        sa.Column("attention_ms", sa.BigInteger(), nullable=False),
        sa.Column("age", sa.Float()),
        sa.Column("gender", sa.String(6)),
        sa.Column("happiness", sa.Integer()),
        sa.Column("direction", sa.String(7), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("revised", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_visits"),
        sa.ForeignKeyConstraint(["stream"], ["streams.client_id"], ondelete="CASCADE", name="fk_visits_stream_streams"),
    )
    op.create_index("ix_visits_stream_started", "visits", ["stream", "started", "id"])
    op.create_table(
        "visit_hours",
        sa.Column("stream", sa.String(36), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS),
        sa.PrimaryKeyConstraint("stream", "hour", name="pk_visit_hours"),
        sa.ForeignKeyConstraint(["stream"], ["streams.client_id"], ondelete="CASCADE", name="fk_visit_hours_stream_streams"),
    )
    op.create_table(
        "visit_roll_ups",
        sa.Column("definition", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("senior_age", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("definition", name="pk_visit_roll_ups"),
    )


def downgrade() -> None:
    op.drop_table("visit_roll_ups")
    op.drop_table("visit_hours")
    op.drop_table("visits")
