"""The limits of providers, held by all worker processes together: see docs/decisions/0006-limits-for-the-cluster.md."""
