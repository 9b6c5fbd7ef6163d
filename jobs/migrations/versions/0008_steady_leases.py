"""Leases know since when they have been renewed without a gap."""

from alembic import op

from config.resources import text_of

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; instant at any size."""
    op.get_bind().exec_driver_sql(text_of("jobs", "sql/0008_steady_leases.sql"))


def downgrade() -> None:
    """Takes them back."""
    op.get_bind().exec_driver_sql("ALTER TABLE workers DROP COLUMN renewed_at, DROP COLUMN steady_since")
