"""The table at the end of a run: what was broken, how long until work went on, what was paid twice."""

from dataclasses import dataclass, field

from tests.chaos.ledger_check import Report


@dataclass
class Table:
    """Rows of scenarios that held; one that did not is in pytest's own report."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)

    def add(self, scenario: str, report: Report, recovery_s: float | None) -> None:
        """Enters a scenario whose ledger was checked."""
        recovery = f"{recovery_s:.1f}" if recovery_s is not None else "-"
        findings = len(report.findings)
        verdict = f"{findings} findings" if findings else "each job ended once"
        self.rows.append((scenario, str(report.jobs), recovery, str(report.paid_twice), verdict))

    def text(self) -> str:
        """The table in the order of the scenarios' numbers, its columns side by side."""
        known = sorted(self.rows, key=lambda row: int(row[0].split()[0]))
        rows = [("scenario", "jobs", "recovery s", "paid twice", "verdict"), *known]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
