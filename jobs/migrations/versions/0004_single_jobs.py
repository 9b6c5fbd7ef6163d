"""Single jobs that wait, by provider."""

from alembic import op

from config.resources import text_of

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the index; it takes a look at every job."""
    op.get_bind().exec_driver_sql(text_of("jobs", "sql/0004_single_jobs.sql"))


def downgrade() -> None:
    """Drops it."""
    op.get_bind().exec_driver_sql("DROP INDEX jobs_single")
