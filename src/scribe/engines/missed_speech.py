"""Find chunks of speech without text, to recognize them again, and chunks with a long pause on both sides."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from math import inf

from scribe.transcript import Chunk, Segment

# Less is likely a cough, or a breath that the detector took for speech.
SHORTEST_S = 0.5
# Seconds added on both sides of a chunk that is recognized again: its first or last sound may have been cut off.
PAD_S = 0.3
# A chunk with no other one within these seconds is `apart`.
APART_S = 2.0
# Seconds of Whisper's input window.
WINDOW_S = 30


def voiced_seconds(chunk: Chunk) -> float:
    """Return the seconds of speech in the chunk."""
    return sum(end - start for start, end in chunk.speech)


def apart(channels: Sequence[Sequence[Chunk]]) -> list[list[Chunk]]:
    """Return the chunks of all channels with `apart` set on those that have no other, in any channel, within APART_S."""
    everyone = sorted((c.start, c.end) for chunks in channels for c in chunks)
    starts = [start for start, _ in everyone]
    ends = [-inf, *accumulate((end for _, end in everyone), max)]  # the latest of the first n

    def stands_apart(chunk: Chunk) -> bool:
        first, beyond = bisect_left(starts, chunk.start), bisect_right(starts, chunk.end + APART_S)
        return beyond == first + 1 and ends[first] + APART_S < chunk.start

    return [[replace(c, apart=stands_apart(c)) for c in chunks] for chunks in channels]


def passed_over(chunks: Sequence[Chunk], segments: Sequence[Segment]) -> list[Chunk]:
    """Return the chunks with at least SHORTEST_S of speech that overlap no segment."""
    ordered = sorted(segments, key=lambda s: s.start)
    starts = [s.start for s in ordered]
    ends = [0.0, *accumulate((s.end for s in ordered), max)]  # the latest of the first n
    covered = (ends[bisect_left(starts, chunk.end)] > chunk.start for chunk in chunks)
    return [c for c, known in zip(chunks, covered, strict=True) if not known and voiced_seconds(c) >= SHORTEST_S]


def padded(missed: Sequence[Chunk], chunks: Sequence[Chunk], duration_s: float) -> list[Chunk]:
    """Return `missed`, some of `chunks`, each extended by PAD_S on both sides, but not into its neighbours, beyond the
    recording or beyond WINDOW_S."""
    numbers = {chunk.start: n for n, chunk in enumerate(chunks)}
    found = []
    for chunk in missed:
        n = numbers[chunk.start]
        before = chunks[n - 1].end if n else 0.0
        after = chunks[n + 1].start if n + 1 < len(chunks) else duration_s
        pad = min(PAD_S, max(0.0, WINDOW_S - (chunk.end - chunk.start)) / 2)
        start, end = max(before, chunk.start - pad), min(after, chunk.end + pad)
        found.append(replace(chunk, start=min(start, chunk.start), end=max(end, chunk.end)))
    return found
