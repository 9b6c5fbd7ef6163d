"""Measures the queue against its peers and against bare loops, on one machine: ``make bench``."""
