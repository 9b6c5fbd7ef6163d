"""The check of the chaos tests sees each kind of damage, and nothing where there is none."""

from dataclasses import replace

import pytest

from tests.chaos.ledger_check import CallRow, JobRow, Report, Request, check

NAMES = ("a", "b")
JOBS = [JobRow(name, "succeeded", f"echo JOB[{name}]") for name in NAMES]
CALLS = [CallRow(name, 1, "succeeded") for name in NAMES]
REQUESTS = [Request(name) for name in NAMES]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert check(NAMES, JOBS, CALLS, REQUESTS) == Report(2, 0, 0)


def test_what_was_paid_twice_is_counted_and_no_finding_where_the_ledger_has_it() -> None:
    calls = [CallRow("a", 1, "lost"), CallRow("a", 2, "succeeded"), CALLS[1]]
    assert check(NAMES, JOBS, calls, [*REQUESTS, REQUESTS[0]]) == Report(2, 1, 0)


def test_an_answer_that_was_never_made_was_not_paid() -> None:
    calls = [CallRow("a", 1, "ProviderUnavailableError"), CallRow("a", 2, "succeeded"), CALLS[1]]
    assert check(NAMES, JOBS, calls, [Request("a", paid=False), *REQUESTS]) == Report(2, 0, 0)


def test_a_submission_whose_answer_was_lost_may_be_there_or_not() -> None:
    assert check(["a"], JOBS, CALLS, REQUESTS, uncertain=["b", "c"]).findings == []


@pytest.mark.parametrize(
    ("jobs", "calls", "requests", "words"),
    [
        (JOBS[:1], CALLS[:1], REQUESTS[:1], "b: was accepted and is not in the ledger"),
        ([*JOBS, JOBS[0]], CALLS, REQUESTS, "a: 2 times in the ledger"),
        ([*JOBS, replace(JOBS[0], identity="c")], CALLS, REQUESTS, "c: nobody submitted it"),
        ([JOBS[0], JobRow("b", "running", ends=0)], CALLS, REQUESTS, "b: is running and has not ended"),
        ([JOBS[0], replace(JOBS[1], ends=2)], CALLS, REQUESTS, "b: was given 2 ends"),
        ([JOBS[0], replace(JOBS[1], result="echo JOB[a]")], CALLS, REQUESTS, "b: its result is not its own"),
        ([JOBS[0], replace(JOBS[1], result=None)], CALLS, REQUESTS, "b: its result is not its own"),
        ([JOBS[0], JobRow("b", "failed")], CALLS, REQUESTS, "b: failed without a reason"),
        (JOBS, CALLS, [*REQUESTS, REQUESTS[0]], "a: 2 requests were made, 1 calls are in the ledger"),
        (JOBS, CALLS[:1], REQUESTS[:1], "b: has a result and no call that succeeded"),
        (JOBS, [*CALLS, CallRow("a", 2, None)], REQUESTS, "a: call 2 is still open"),
        (JOBS, [*CALLS, CallRow("a", 2, "succeeded")], [*REQUESTS, REQUESTS[0]], "a: 2 calls of it succeeded"),
        (
            JOBS,
            [*CALLS, CallRow("a", 2, "superseded")],
            [*REQUESTS, REQUESTS[0]],
            "a: 2 requests were made, 1 calls are in the ledger",
        ),
    ],
)
def test_damage_is_found(jobs: list[JobRow], calls: list[CallRow], requests: list[Request], words: str) -> None:
    assert words in check(NAMES, jobs, calls, requests).findings
