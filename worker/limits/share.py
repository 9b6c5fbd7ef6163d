"""What a process allows itself while Redis is away: its share of the limits, evenly spaced."""

from collections.abc import Iterator

from config.providers import Limits
from worker.limits.exchange import Answer, Report, Turn

SPACING_MS = 61_200
AHEAD_MS = 500
"""As in ``worker/lua/limits.lua``."""


class Share:
    """Answers like the script, from this process' memory.

    A batch overnight must not stop because Redis restarts, and must not storm the provider either: each process goes on
    with the limit divided by the number of processes that it last heard of. Waits until Redis is back would be safer by
    the few calls that a process started meanwhile adds; they would also make Redis a single point of failure.
    """

    def __init__(self) -> None:
        self._requests_ms, self._tokens_ms, self._hold_ms = 0.0, 0.0, 0.0

    def answer(self, report: Report, now_ms: int) -> Answer:
        """What may be called now, and when the rest has to ask again.

        Args:
            report: what the script would have been told.
            now_ms: a clock of this process.
        """
        self._hold_ms = max(self._hold_ms, now_ms + report.hold_ms)
        free = self._free(report)
        turns: list[Turn | None] = []
        for tokens, longest_ms in report.interactive:
            wait_ms = self._next_ms(now_ms) - now_ms
            given = free > 0 and wait_ms <= longest_ms
            turns.append(Turn(given, wait_ms) if given or wait_ms > longest_ms else None)
            if given:
                free -= 1
                self._take(report, tokens, now_ms + wait_ms)
        waits = list(self._bulk(report, now_ms, free))
        again_ms = None
        if len(waits) < len(report.bulk) or None in turns:
            again_ms = max(100, self._next_ms(now_ms) - now_ms - AHEAD_MS // 2)
        return Answer(None, report.processes, turns, waits, again_ms, round(self._hold_ms - now_ms))

    def _bulk(self, report: Report, now_ms: int, free: int) -> Iterator[int]:
        for tokens in report.bulk[:free]:
            wait_ms = self._next_ms(now_ms) - now_ms
            if wait_ms > AHEAD_MS:
                return
            self._take(report, tokens, now_ms + wait_ms)
            yield wait_ms

    def _free(self, report: Report) -> int:
        calls = report.limits.calls_in_flight
        asked = len(report.interactive) + len(report.bulk)
        return asked if calls is None else max(0, max(1, calls // max(1, report.processes)) - report.held)

    def _next_ms(self, now_ms: int) -> int:
        return round(max(now_ms, self._hold_ms, self._requests_ms, self._tokens_ms))

    def _take(self, report: Report, tokens: int, at_ms: int) -> None:
        limits: Limits = report.limits
        spacing_ms = SPACING_MS * max(1, report.processes)
        if limits.requests_per_minute:
            self._requests_ms = at_ms + spacing_ms / limits.requests_per_minute
        if limits.tokens_per_minute:
            self._tokens_ms = at_ms + spacing_ms * min(tokens, limits.tokens_per_minute) / limits.tokens_per_minute
