"""The report of the checks: what works, what does not, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. A problem is `failed` if the configuration needs what was checked, else a `warning`."""

    check: str
    state: State
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 when everything that the configuration needs works, else 1."""
        return int(any(f.state == "failed" for f in self.findings))

    def to_dict(self) -> dict[str, object]:
        """Return {ok, findings: [{check, state, found, remedy}]} as JSON-ready values."""
        return {"ok": self.exit_code == 0, "findings": [asdict(f) for f in self.findings]}


def summary(problems: Sequence[Finding]) -> str:
    """Format findings as one log line, each with what to do."""
    return "; ".join(f"{f.check}: {f.found}. {f.remedy}".strip() for f in problems)


def table(report: Report, width: int | None = None, clean: Callable[[str], str] = lambda text: text) -> str:
    """Format the report for a terminal, followed by what to do. `width` in characters; None uses the terminal's."""
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
    columns = Table("check", "state", "found", show_edge=False, pad_edge=False)
    for finding in report.findings:
        columns.add_row(finding.check, Text(finding.state, style=colours[finding.state]), Text(clean(finding.found)))
    terminal = Console()
    console = Console(
        file=io.StringIO(), width=width or terminal.width, force_terminal=terminal.is_terminal, highlight=False
    )
    console.print(columns)
    todo = [f for f in report.findings if f.remedy and f.state != "ok"]
    if todo:
        console.print("\nWhat to do")
    for finding in todo:
        console.print(Text(f"  {finding.check}: {clean(finding.remedy)}"))
    verdict = (
        "Something that this configuration needs does not work." if report.exit_code else "All that is needed works."
    )
    console.print(f"\n{verdict}")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
