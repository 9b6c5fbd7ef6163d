"""Keys as changes of the registry, and jobs that run again."""

from alembic import op

from config.resources import text_of

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; instant at any size, but for the index of failed jobs."""
    op.get_bind().exec_driver_sql(text_of("jobs", "sql/0002_keys_and_reruns.sql"))


def downgrade() -> None:
    """Takes them back."""
    op.get_bind().exec_driver_sql(
        "ALTER TABLE providers DROP COLUMN key_generation; ALTER TABLE jobs DROP COLUMN retries_from; "
        "DROP INDEX jobs_failed"
    )
