"""Jobs in hand have an index that no other statement can be planned by."""

from alembic import op

from config.resources import text_of

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the index; it takes a look at every job."""
    op.get_bind().exec_driver_sql(text_of("jobs", "sql/0009_jobs_in_hand.sql"))


def downgrade() -> None:
    """Brings the older one back."""
    op.get_bind().exec_driver_sql(
        "CREATE INDEX jobs_running ON jobs (worker_id) WHERE state = 'running'; DROP INDEX jobs_in_hand"
    )
