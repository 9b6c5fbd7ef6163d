"""Idempotency keys, results that serve again, revisions."""

from alembic import op

from config.resources import text_of

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns, instant at any size, and indexes that are empty at first: one reading of the table each."""
    op.get_bind().exec_driver_sql(text_of("jobs", "sql/0005_once.sql"))


def downgrade() -> None:
    """Takes them back, with their indexes."""
    op.get_bind().exec_driver_sql(
        "ALTER TABLE batches DROP COLUMN reuse_s, DROP COLUMN reused; "
        "ALTER TABLE jobs DROP COLUMN idempotency_key, DROP COLUMN supersede_key, DROP COLUMN revision, "
        "DROP COLUMN superseded_by, DROP COLUMN stale, DROP COLUMN reuse_s, DROP COLUMN content_key, "
        "DROP COLUMN reused_from"
    )
