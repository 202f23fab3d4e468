"""Wires the settings into a worker, and joins the command with what needs one."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `scribe`: run it and return its exit code."""
    from scribe.app.here import here
    from scribe.cli.main import main as run

    return run(arguments, here())
