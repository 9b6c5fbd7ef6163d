"""The ledger and the registry."""

from alembic import op

from config.resources import text_of

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the tables."""
    op.get_bind().exec_driver_sql(text_of("jobs", "sql/0001_first.sql"))


def downgrade() -> None:
    """Drops them, with all that was recorded."""
    op.get_bind().exec_driver_sql("DROP TABLE calls, jobs, batches, workers, providers, registry")
