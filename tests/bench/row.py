"""One line of the benchmark: the stock code and the worker's, on the same input, measured in turns in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """`stock` and `ours` are repeated measurements in `unit`; `target` is the ratio stock / ours that is aimed at.

    A row without `stock` is an absolute figure, and then `target` is the most that `ours` may be.
    """

    what: str
    ours: tuple[float, ...]
    stock: tuple[float, ...] = ()
    target: float | None = None
    unit: str = "s"
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.ours)

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.stock) / self.value if self.stock and self.value else None

    @property
    def met(self) -> bool | None:
        """None where no target was set."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.ratio is not None else self.value <= self.target


def spread(values: Sequence[float]) -> float:
    """Half the distance between the largest and the smallest, as a share of the median."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / 2 / middle if middle else 0.0


def in_turns(
    stock: Callable[[], Any], ours: Callable[[], Any], repeats: int = 5
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(seconds of `stock`, seconds of `ours`), each run `repeats` times by turns after one run that is not counted:
    what else the machine does in between then falls on both."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(repeats + 1):
        for work, seconds in zip((stock, ours), found, strict=True):
            began = time.perf_counter()
            work()
            if number:
                seconds.append(time.perf_counter() - began)
    return tuple(found[0]), tuple(found[1])
