"""The command: ``python -m bench``, or ``make bench``."""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench import report
from bench.measurement import measure
from bench.plan import QUICK, Plan
from bench.plot import draw
from bench.results import Results
from bench.rows import ROWS
from bench.targets import judged
from embedded.programs import ROOT


def main() -> None:
    """Measures, prints, and writes what was measured whole or where ``--out`` says."""
    options = _options()
    rows = options.rows.split(",") if options.rows else list(ROWS)
    if unknown := [name for name in rows if name not in ROWS]:
        sys.exit(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    plan = QUICK if options.quick else Plan()
    plan = replace(plan, rounds=options.rounds or plan.rounds, delay_s=options.delay_s)
    with tempfile.TemporaryDirectory(prefix="ticketflow-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # Postgres may run as another user: it must pass
        results = measure(plan, rows, Path(folder), more=not options.only_rows)
    targets = judged(results)
    print(f"\n{report.throughput(results)}\n\n{report.more(results)}\n\n{report.targets(targets)}")
    if options.out:
        _write(results, Path(options.out), Path(options.out))
    elif not (options.quick or options.rows or options.only_rows):
        _write(results, ROOT / "bench", ROOT / "docs")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything works")
    parser.add_argument("--rows", help="names of rows, comma-separated; all by default")
    parser.add_argument("--only-rows", action="store_true", help="throughput alone, nothing beside it")
    parser.add_argument("--rounds", type=int, help="how often each row is run")
    parser.add_argument("--delay-s", type=float, default=Plan.delay_s, help="seconds that the provider takes")
    parser.add_argument("--out", help="folder for results.json, performance.md and the plot")
    return parser.parse_args()


def _write(results: Results, data: Path, docs: Path) -> None:
    for folder in (data, docs):
        folder.mkdir(parents=True, exist_ok=True)
    targets = judged(results)
    results.write(data / "results.json", targets)
    (docs / "performance.md").write_text(report.page(results, targets), encoding="utf-8")
    if results.levels:
        draw(results, docs / report.PLOT)


if __name__ == "__main__":
    main()
