"""What producers and workers agree on: settings, providers and their registry, keys, egress, broker, errors."""
