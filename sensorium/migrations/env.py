"""Run by Alembic for each command. The connection comes from `sensorium.migrate`, in a transaction already begun there."""

from alembic import context

import analytics.tables  # noqa: F401 - Base knows the tables of what was imported
import webhooks.tables  # noqa: F401
from database.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
