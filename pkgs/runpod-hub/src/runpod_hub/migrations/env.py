"""Alembic's entry point: run the revisions on the connection the package opened.

It has no configuration of its own and never opens a database by itself.
"""

from alembic import context

from runpod_hub.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
