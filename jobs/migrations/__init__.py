"""Migrations of the ledger: alembic keeps the order, plain SQL does the work."""
