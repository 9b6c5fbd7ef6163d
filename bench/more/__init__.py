"""What is measured beside throughput; each module gives figures by name, with the unit in the name."""
