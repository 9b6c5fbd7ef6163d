"""Costs of calls, and caps of batches."""

from alembic import op

from config.resources import text_of

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns, instant at any size, and reads the calls once for the index."""
    op.get_bind().exec_driver_sql(text_of("jobs", "sql/0006_costs.sql"))


def downgrade() -> None:
    """Takes them back."""
    op.get_bind().exec_driver_sql(
        "DROP VIEW budgets; DROP INDEX calls_started; ALTER TABLE calls DROP COLUMN cost_usd; "
        "ALTER TABLE batches DROP COLUMN cost_usd, DROP COLUMN max_cost_usd, DROP COLUMN pause_reason"
    )
