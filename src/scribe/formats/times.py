"""Seconds as the formats write them. Everything that has to be ordered is counted in whole milliseconds."""

from __future__ import annotations

import math


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
