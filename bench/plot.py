"""The plot: jobs a second and memory by calls in flight."""

from pathlib import Path

from matplotlib.figure import Figure

from bench.results import Results


def draw(results: Results, path: Path) -> None:
    """Writes the plot as a PNG.

    Args:
        results: with levels.
        path: the file.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    rate, memory = figure.subplots(1, 2)
    for name in dict.fromkeys(point["name"] for point in results.levels):
        points = sorted((p for p in results.levels if p["name"] == name), key=lambda p: int(p["level"]))
        calls = [point["level"] for point in points]
        rate.plot(calls, [point["jobs_per_s"] for point in points], marker="o", label=name)
        memory.plot(calls, [point["pss_mb"] for point in points], marker="o", label=name)
    bound = sorted({point["level"] for point in results.levels})
    rate.plot(bound, [calls / results.delay_s for calls in bound], color="0.7", linestyle=":", label="calls / delay")
    rate.set_title("jobs a second")
    memory.set_title("memory of both processes (PSS), MB")
    for axes in (rate, memory):
        axes.set_xscale("log")
        axes.set_xlabel(f"calls in flight, {results.delay_s:g} s each")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    rate.set_ylim(top=1.2 * max(point["jobs_per_s"] for point in results.levels))
    rate.legend()
    figure.savefig(path, dpi=120)
