"""Batches that are named, paused and cancelled."""

from alembic import op

from config.resources import text_of

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; instant at any size."""
    op.get_bind().exec_driver_sql(text_of("jobs", "sql/0003_batch_control.sql"))


def downgrade() -> None:
    """Takes them back."""
    op.get_bind().exec_driver_sql(
        "ALTER TABLE batches DROP COLUMN name, DROP COLUMN input_digest, DROP COLUMN paused; "
        "ALTER TABLE jobs DROP COLUMN cancel_asked"
    )
