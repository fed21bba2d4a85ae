"""Limits of plans, seconds of stream, and what a stream has switched off"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ANALYSES = ("age", "expression", "gender", "identification")


def upgrade() -> None:
    op.create_table(
        "plans",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("seconds", sa.Integer()),
        sa.Column("streams", sa.Integer()),
        sa.PrimaryKeyConstraint("name", name="pk_plans"),
    )
    op.create_table(
        "usage",
        sa.Column("stream", sa.String(36), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "day", name="pk_usage"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], ondelete="CASCADE", name="fk_usage_account_id_accounts"),
    )
    op.create_index("ix_usage_account_day", "usage", ["account_id", "day"])
    for name in _ANALYSES:
        op.add_column("streams", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.true()))


def downgrade() -> None:
    for name in _ANALYSES:
        op.drop_column("streams", name)
    op.drop_table("usage")
    op.drop_table("plans")
