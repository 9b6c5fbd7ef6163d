"""Ids of jobs and batches: UUID version 7, so that new rows land side by side in the index."""

import os
import time
from uuid import UUID


def new_id() -> UUID:
    """A fresh id: 48 bits of milliseconds since 1970, then 74 random bits (RFC 9562, section 5.7)."""
    random_bits = int.from_bytes(os.urandom(10), "big")
    value = (time.time_ns() // 1_000_000) << 80 | random_bits
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def parse_id(text: str) -> UUID | None:
    """The id that a person gave, or None if it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def first_id(time_s: float) -> UUID:
    """The smallest id of a moment, in seconds since 1970; what was accepted before it has a smaller one."""
    return UUID(int=int(time_s * 1000) << 80)
