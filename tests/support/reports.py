"""What tests note for the end of a run travels with their reports, so that it may come from other processes."""

from typing import Any

import pytest


def noted(terminalreporter: pytest.TerminalReporter, name: str) -> list[Any]:
    """What tests entered under a name in their ``user_properties``, in the order in which they ended."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    ends = [report for report in reports if getattr(report, "when", None) == "teardown"]
    return [value for report in ends for entered, value in report.user_properties if entered == name]
