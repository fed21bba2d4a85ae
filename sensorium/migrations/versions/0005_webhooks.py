"""Webhooks: their deliveries, receivers that want none, and changed signing secrets"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("stream", sa.String(36), nullable=False),
        sa.Column("endpoint", sa.LargeBinary(16), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("job_url", sa.Text(), nullable=False),
        sa.Column("synchronous", sa.Boolean(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=False),
        sa.Column("lease", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.String(200)),
        sa.Column("body", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("job_id", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(["stream"], ["streams.client_id"], ondelete="CASCADE", name="fk_webhook_deliveries_stream_streams"),
    )
    op.create_index("ix_webhook_deliveries_state_next_at", "webhook_deliveries", ["state", "next_at"])
    op.create_index("ix_webhook_deliveries_stream_state", "webhook_deliveries", ["stream", "state"])
    op.create_index("ix_webhook_deliveries_endpoint_state", "webhook_deliveries", ["endpoint", "state"])
    op.create_table(
        "webhook_disabled",
        sa.Column("endpoint", sa.LargeBinary(16), nullable=False),
        sa.Column("stream", sa.String(36), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint", name="pk_webhook_disabled"),
        sa.ForeignKeyConstraint(["stream"], ["streams.client_id"], ondelete="CASCADE", name="fk_webhook_disabled_stream_streams"),
    )
    op.create_index("ix_webhook_disabled_stream", "webhook_disabled", ["stream"])
    op.create_table(
        "webhook_secrets",
        sa.Column("stream", sa.String(36), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream", name="pk_webhook_secrets"),
        sa.ForeignKeyConstraint(["stream"], ["streams.client_id"], ondelete="CASCADE", name="fk_webhook_secrets_stream_streams"),
    )


def downgrade() -> None:
    op.drop_table("webhook_secrets")
    op.drop_table("webhook_disabled")
    op.drop_table("webhook_deliveries")
