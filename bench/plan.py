"""How much is measured: whole, for figures to be kept, or quick, to see that everything works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Sizes of a measurement.

    Args:
        quick: rows run with their quick number of jobs.
        rounds: how often each row is run, in turn with the others.
        delay_s: how long the provider takes for an answer.
        latency_jobs: jobs one after another on an idle system.
        memory_jobs: jobs of one worker process over which its memory may grow.
        tickets: lines of the large file.
        resolutions: in a series.
        small_jobs: of a small batch.
        small_times: small batches.
        large_jobs: of the large batch.
        levels: calls in flight for the plot.
        level_s: seconds that a point of the plot should take where the calls are the limit.
        imports: fresh processes that import the producer.
    """

    quick: bool = False
    rounds: int = 3
    delay_s: float = 0.5
    latency_jobs: int = 200
    memory_jobs: int = 50_000
    tickets: int = 100_000
    resolutions: int = 50_000
    small_jobs: int = 1_000
    small_times: int = 30
    large_jobs: int = 100_000
    levels: tuple[int, ...] = (20, 50, 100, 200, 500, 1000)
    level_s: float = 6.0
    imports: int = 7


QUICK = Plan(
    quick=True,
    rounds=1,
    latency_jobs=10,
    memory_jobs=3_000,
    tickets=5_000,
    resolutions=2_000,
    small_jobs=200,
    small_times=2,
    large_jobs=2_000,
    levels=(100,),
    level_s=1.0,
    imports=2,
)
