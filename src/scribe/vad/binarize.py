"""Convert frame scores to spans of speech, by hysteresis thresholding and a cut in spans that are too long."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from scribe.transcript import Span


def speech_spans(
    scores: NDArray[np.float32], frame: float, step: float, onset: float, offset: float, longest: float
) -> list[Span]:
    """Return spans of speech in seconds, in order; two that touch are halves of one that was cut.

    `scores`: (frames,), 0 to 1; a frame covers `frame` seconds, starts `step` seconds after the one before, and its time
    is its middle. Speech begins in a frame above `onset` and ends in the next one below `offset`. A span that exceeds
    `longest` seconds is cut at the frame with the lowest score of the second half since the last cut. The result equals
    that of whisperX's `Binarize` (Gelly & Gauvain, Interspeech 2015; the cut: Bain et al., Interspeech 2023) to the last
    bit.
    """
    loud, quiet = np.flatnonzero(scores > onset), np.flatnonzero(scores < offset)
    last = len(scores) - 1

    def middle(number: int) -> float:
        return 0.5 * (number * step + (number * step + frame))

    def following(frames: NDArray[np.intp], number: int) -> int:
        """Return the first of `frames` after that number; last + 1 if there is none."""
        place = int(np.searchsorted(frames, number, side="right"))
        return int(frames[place]) if place < len(frames) else last + 1

    found: list[Span] = []
    now = -1
    while (start := following(loud, now)) <= last:
        # A cut falls on a frame from `head` on; frames up to `now` are processed.
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
