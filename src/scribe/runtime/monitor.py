"""The stop signal and progress report of a long computation, as one argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def never() -> None:
    """Never stop: the default of `stopped`."""


def unseen(fraction: float) -> None:
    """Ignore the progress: the default of `report`."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """`stopped` raises when the work must end; `report` gets the fraction done, 0 to 1. Both are called from any thread."""

    stopped: Callable[[], None] = never
    report: Callable[[float], None] = unseen

    def raise_if_stopped(self) -> None:
        """Raise what ends the work. Call it between batches."""
        self.stopped()

    def progress(self, fraction: float) -> None:
        """Report the fraction done, 0 to 1. Raises what ends the work."""
        self.stopped()
        self.report(fraction)

    def part(self, number: int, count: int) -> Monitor:
        """Return the monitor of part `number` of `count` equal parts of this work."""
        return Monitor(self.stopped, lambda fraction: self.report((number + fraction) / count))

    def silent(self) -> Monitor:
        """Return a monitor with the same stop signal that reports no progress."""
        return Monitor(self.stopped)


UNWATCHED = Monitor()
