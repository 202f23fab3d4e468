"""How a long computation learns that it should stop, and reports how far it is: one argument for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def never() -> None:
    """Stop nothing."""


def unseen(fraction: float) -> None:
    """Report to nobody."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """`stopped` raises once the work is to end; `report` gets the fraction done, 0 to 1. Both may come from any thread."""

    stopped: Callable[[], None] = never
    report: Callable[[float], None] = unseen

    def raise_if_stopped(self) -> None:
        """Raise what ends the work. Called between batches, where nothing is half done."""
        self.stopped()

    def progress(self, fraction: float) -> None:
        """Report 0 to 1 of this work. Raises what ends it."""
        self.stopped()
        self.report(fraction)

    def part(self, number: int, count: int) -> Monitor:
        """Give the monitor of part `number` of `count` equal parts of this work."""
        return Monitor(self.stopped, lambda fraction: self.report((number + fraction) / count))

    def silent(self) -> Monitor:
        """Give a monitor of work that can be stopped and shows no progress."""
        return Monitor(self.stopped)


UNWATCHED = Monitor()
