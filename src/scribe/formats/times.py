"""Seconds as the formats write them. Everything that has to be ordered is counted in whole milliseconds."""

from __future__ import annotations

import math
from collections.abc import Sequence


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, never negative; a time that is no number counts as the start of the recording."""
    return max(0, round(seconds * 1000)) if math.isfinite(seconds) else 0


def stamp(ms: int, decimal: str = ".") -> str:
    """`HH:MM:SS.mmm`, hours always written: players disagree about leaving them out."""
    minutes, rest = divmod(ms, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{decimal}{rest % 1000:03d}"


def clock(seconds: float) -> str:
    """`HH:MM:SS`, cut to the second as a player shows it."""
    return stamp(milliseconds(seconds))[:-4]


def short_clock(seconds: float) -> str:
    """`M:SS`, with hours `H:MM:SS`, as a player shows it."""
    minutes, second = divmod(milliseconds(seconds) // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}" if minutes >= 60 else f"{minutes}:{second:02d}"


def percentages(parts: Sequence[float]) -> list[int]:
    """The parts as whole percentages that sum to 100 (largest remainders); all 0 where there is nothing to share."""
    total = sum(parts)
    if total <= 0:
        return [0] * len(parts)
    exact = [100 * part / total for part in parts]
    whole = [int(share) for share in exact]
    by_remainder = sorted(range(len(parts)), key=lambda n: whole[n] - exact[n])
    for n in by_remainder[: 100 - sum(whole)]:
        whole[n] += 1
    return whole
