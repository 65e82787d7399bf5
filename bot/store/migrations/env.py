"""What Alembic runs for each command."""

from alembic import context

from bot.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter much in place
)
with context.begin_transaction():
    context.run_migrations()
