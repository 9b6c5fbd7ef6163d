"""Jobs that may ask other providers, or do not wait for one that is left alone."""

from alembic import op

from config.resources import text_of

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; instant at any size."""
    op.get_bind().exec_driver_sql(text_of("jobs", "sql/0007_fallbacks.sql"))


def downgrade() -> None:
    """Takes them back."""
    op.get_bind().exec_driver_sql(
        "ALTER TABLE jobs DROP COLUMN fallbacks, DROP COLUMN fallback_position, DROP COLUMN fallback_reason, "
        "DROP COLUMN fail_fast"
    )
