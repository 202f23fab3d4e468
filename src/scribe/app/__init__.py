"""Build a worker from the settings, and connect the command `scribe` to it."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command `scribe` and return its exit code."""
    from scribe.app.here import here
    from scribe.cli.main import main as run

    return run(arguments, here())
