"""Ids of jobs: version 7, in order of time, and tolerant parsing."""

import time

from jobs.ids import new_id, parse_id


def test_version_variant_and_time() -> None:
    before_ms = time.time_ns() // 1_000_000
    made = new_id()
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert before_ms <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_differ() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_parsing() -> None:
    made = new_id()
    assert parse_id(str(made)) == made
    assert parse_id("no id") is None
    assert parse_id("") is None
