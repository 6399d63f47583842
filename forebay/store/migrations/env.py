"""What Alembic runs: the migrations, on the connection (and within the transaction) that `migrate` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
