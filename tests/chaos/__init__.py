"""Breaks real processes and holds the ledger against what the provider really received; ``make chaos`` runs it."""
