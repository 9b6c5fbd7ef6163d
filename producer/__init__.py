"""How work gets in and results out."""
