"""Format times and percentages. Times that are compared are whole milliseconds."""

from __future__ import annotations

import math
from collections.abc import Sequence


def milliseconds(seconds: float) -> int:
    """Convert seconds to whole milliseconds, never negative; NaN and infinity become 0."""
    return max(0, round(seconds * 1000)) if math.isfinite(seconds) else 0


def stamp(ms: int, decimal: str = ".") -> str:
    """Format milliseconds as `HH:MM:SS.mmm`, always with hours, because not all players accept times without them."""
    minutes, rest = divmod(ms, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{decimal}{rest % 1000:03d}"


def clock(seconds: float) -> str:
    """Format seconds as `HH:MM:SS`, rounded down as players do."""
    return stamp(milliseconds(seconds))[:-4]


def short_clock(seconds: float) -> str:
    """Format seconds as `M:SS`, from one hour on as `H:MM:SS`."""
    minutes, second = divmod(milliseconds(seconds) // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}" if minutes >= 60 else f"{minutes}:{second:02d}"


def percentages(parts: Sequence[float]) -> list[int]:
    """Return the parts as whole percentages that sum to 100 (largest remainders); all 0 if the parts sum to 0."""
    total = sum(parts)
    if total <= 0:
        return [0] * len(parts)
    exact = [100 * part / total for part in parts]
    whole = [int(share) for share in exact]
    by_remainder = sorted(range(len(parts)), key=lambda n: whole[n] - exact[n])
    for n in by_remainder[: 100 - sum(whole)]:
        whole[n] += 1
    return whole
