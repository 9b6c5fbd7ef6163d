"""The bench's arithmetic, its targets and its tables; whether it measures is shown by ``make bench BENCH=--quick``."""

import json
import os
from pathlib import Path

import pytest

from bench import report
from bench.proc import cpu_s, family, pss_bytes
from bench.prompts import PROMPT_BYTES, prompt, ticket
from bench.results import Results
from bench.rows import ROWS
from bench.sample import Sample, steady_rate, summed_up
from bench.targets import CPU_MS, PEERS, TARGETS, judged
from jobs.kinds import kind_named
from tests.support.processes import needs_proc


def _sample(jobs_per_s: float) -> Sample:
    return Sample(100, jobs_per_s, jobs_per_s * 1.1, 0.5, 80.0, 160.0, 2, 1000)


def _results(rates: dict[str, float], more: dict[str, float] | None = None) -> Results:
    rows = [summed_up(name, [_sample(rate)]) for name, rate in rates.items()]
    machine = {"cpu": "x", "cores": 2, "memory_gb": 24.0, "kernel": "6", "python": "3.11"}
    return Results(machine, {"celery": "5"}, "2026-01-01T00:00+00:00", 3, 0.5, rows, more or {})


def test_a_row_is_the_median_of_its_rounds() -> None:
    row = summed_up("batch", [_sample(rate) for rate in (300.0, 100.0, 200.0)])
    assert (row["name"], row["jobs_per_s"], row["jobs_per_s_of_rounds"]) == ("batch", 200.0, [300.0, 100.0, 200.0])


@pytest.mark.parametrize(
    ("timeline", "rate"),
    [
        ([(0.0, 0), (1.0, 20), (2.0, 55), (3.0, 90), (9.0, 100)], 35.0),
        ([(0.0, 0), (1.0, 100)], 0.0),
        ([], 0.0),
    ],
)
def test_the_steady_rate_leaves_out_begin_and_end(timeline: list[tuple[float, int]], rate: float) -> None:
    assert steady_rate(timeline, 100) == pytest.approx(rate)


def test_a_ratio_is_taken_to_the_best_of_the_peers() -> None:
    targets = {t["name"]: t for t in judged(_results({"single": 500.0, "taskiq": 100.0, "dramatiq": 200.0}))}
    single = targets["single jobs, by the best peer"]
    assert (single["measured"], single["met"]) == (2.5, True)
    assert targets["batch, by taskiq"]["met"] is None


@pytest.mark.parametrize(("value", "met"), [(15.0, True), (15.1, False)])
def test_a_target_is_met_up_to_its_goal(value: float, met: bool) -> None:
    targets = judged(_results({}, {"added_latency_p50_ms": value}))
    assert {t["name"]: t["met"] for t in targets}["latency added to one job, p50"] is met


def test_what_takes_time_is_shown_at_the_speed_of_the_targets_too() -> None:
    """Twice the CPU time of the bare loops: a machine of half the speed."""
    results = _results(dict.fromkeys(CPU_MS, 100.0), {"added_latency_p50_ms": 29.0, "intake_rows_per_s": 11_000.0})
    for row in results.rows:
        row["cpu_ms_per_job"] = 2 * CPU_MS[row["name"]]
    targets = {t["name"]: t for t in judged(results)}
    latency, intake = targets["latency added to one job, p50"], targets["intake of 100,000 tickets of 1 kB"]
    assert (latency["at_speed"], latency["met"], latency["met_at_speed"]) == (pytest.approx(14.5), False, True)
    assert (intake["at_speed"], intake["met"], intake["met_at_speed"]) == (pytest.approx(22_000), False, True)
    assert targets["batch, by taskiq"]["at_speed"] is None
    (line,) = [line for line in report.targets(judged(results)).splitlines() if "p50" in line]
    assert line.split("|")[5].strip() == "at the targets' speed"


def test_shrinking_is_no_better_than_growing() -> None:
    targets = judged(_results({}, {"job_growth_percent": -60.0}))
    assert {t["name"]: t["met"] for t in targets}["a job in 100,000 against one in 1,000"] is False


def test_every_peer_of_the_targets_is_a_row() -> None:
    assert set(PEERS) <= set(ROWS)
    assert len({target.name for target in TARGETS}) == len(TARGETS)


def test_the_page_holds_every_figure(tmp_path: Path) -> None:
    results = _results({"batch": 1000.0, "taskiq": 100.0}, {"status_ms": 0.25})
    targets = judged(results)
    page = report.page(results, targets)
    assert all(words in page for words in ("1,000", "0.10", "status_ms", "10 ×", "not measured", report.PLOT))
    results.write(tmp_path / "results.json", targets)
    kept = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in kept["rows"]] == ["batch", "taskiq"]
    assert {target["met"] for target in kept["targets"]} == {True, None}


def test_inputs_are_a_kilobyte_and_valid() -> None:
    assert len(prompt(7).encode()) == PROMPT_BYTES
    assert prompt(7) != prompt(8)
    assert 950 <= len(json.dumps(ticket(7))) <= 1100
    assert kind_named("summarise_ticket").accept(ticket(7)).custom_id == "T00000007"


@needs_proc
def test_a_process_is_seen_from_outside() -> None:
    pid = os.getpid()
    assert pid in family([pid])
    assert cpu_s(pid) > 0
    assert pss_bytes(pid) > 1024 * 1024
    gone = 2**22 + 1
    assert (family([gone]), cpu_s(gone), pss_bytes(gone)) == (set(), 0.0, 0)
