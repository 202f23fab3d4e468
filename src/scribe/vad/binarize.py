"""From a score for every frame to stretches of speech: two thresholds, and a cut where a stretch grows too long."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from scribe.transcript import Span


def speech_spans(
    scores: NDArray[np.float32], frame: float, step: float, onset: float, offset: float, longest: float
) -> list[Span]:
    """Stretches of speech in seconds, in order; two that touch are the halves of one that was cut.

    `scores`: (frames,), 0 to 1; a frame sees `frame` seconds and lies `step` seconds after the one before; its time is its
    middle. Speech begins in a frame above `onset` and ends in the next one below `offset`. One that lasts for more than
    `longest` seconds, at least a few frames, is cut at the quietest frame of its second half, whose end counts frames from
    the last cut on. As whisperX's `Binarize` has it (Gelly & Gauvain, Interspeech 2015; the cut: Bain et al., Interspeech
    2023), to the last bit.
    """
    loud, quiet = np.flatnonzero(scores > onset), np.flatnonzero(scores < offset)
    last = len(scores) - 1

    def middle(number: int) -> float:
        return 0.5 * (number * step + (number * step + frame))

    def following(frames: NDArray[np.intp], number: int) -> int:
        """The first of `frames` after that number; beyond the last frame when there is none."""
        place = int(np.searchsorted(frames, number, side="right"))
        return int(frames[place]) if place < len(frames) else last + 1

    found: list[Span] = []
    now = -1
    while (start := following(loud, now)) <= last:
        # Frames that a cut may fall on are counted from `head`; those up to `now` are decided.
        head = now = start
        while True:
            end = following(quiet, now)
            begun = middle(start)

            def overlong(number: int, begun: float = begun) -> bool:
                return middle(number) - begun > longest

            full = bisect_left(range(now + 1, last + 1), True, key=overlong) + now + 1
            now = min(full, end, last)
            if min(full, end) > last or full > end:
                break
            cut = head + (full - head) // 2
            cut += int(np.argmin(scores[cut:full]))
            found.append((begun, middle(cut)))
            start, head = cut, cut + 1
        if now > start:
            found.append((begun, middle(now)))
    return found
