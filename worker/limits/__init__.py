"""The limits of providers, held by all worker processes together: see docs/decisions/0007-limits-for-the-cluster.md."""
