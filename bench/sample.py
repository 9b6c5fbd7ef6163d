"""What one run of one row gave, and what several rounds of it come to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One run.

    Args:
        jobs: how many were run.
        jobs_per_s: from the moment when they could be begun until the last was done.
        steady_jobs_per_s: between the first 20 and the last 10 percent, so without begin and end.
        cpu_ms_per_job: of the measured processes alone.
        pss_mb_per_process: the highest seen of any of them.
        pss_mb: the highest seen of all together.
        processes: how many there were.
        calls_in_flight: the most that the server saw.
    """

    jobs: int
    jobs_per_s: float
    steady_jobs_per_s: float
    cpu_ms_per_job: float
    pss_mb_per_process: float
    pss_mb: float
    processes: int
    calls_in_flight: int


def summed_up(name: str, samples: Sequence[Sample]) -> dict[str, Any]:
    """One row of the results: medians over the rounds, and the rates of each."""
    fields = [asdict(sample) for sample in samples]
    medians = {key: round(median(sample[key] for sample in fields), 2) for key in fields[0]}
    return {"name": name, **medians, "jobs_per_s_of_rounds": [round(s.jobs_per_s, 1) for s in samples]}


def steady_rate(timeline: Sequence[tuple[float, int]], jobs: int) -> float:
    """Jobs a second in the middle of a run; 0 where it was too short to tell.

    Args:
        timeline: moments in seconds with the jobs done by then.
        jobs: how many there are.
    """
    middle = [(at, done) for at, done in timeline if 0.2 * jobs <= done <= 0.9 * jobs]
    if len(middle) < 2 or middle[-1][0] <= middle[0][0]:
        return 0.0
    return (middle[-1][1] - middle[0][1]) / (middle[-1][0] - middle[0][0])
