"""What a run came to, as it is kept and read again."""

from __future__ import annotations

from bot.contract import BuildResult, Finding, Record, StackResult, StressResult


class Report(Record):
    """The results of the jobs, and the findings in them before any was muted."""

    tree: str
    commit: str
    base_reason: str
    findings: tuple[Finding, ...]
    build: BuildResult
    stack: StackResult | None
    stress: StressResult | None


def write(report: Report) -> str:
    """Return a report as it is kept."""
    return report.model_dump_json()


def read(text: str) -> Report:
    """Return a report that was kept."""
    return Report.model_validate_json(text)
