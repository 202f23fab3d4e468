"""Where somebody speaks and what has no text: chunks that stand apart, and those that the recognizer passed over. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from math import inf

from scribe.transcript import Chunk, Segment

# Less is a cough, or a breath that the detector took for speech.
SHORTEST_S = 0.5
# Given to a chunk on both sides when it is listened to once more: its first or last sound may have been cut off.
PAD_S = 0.3
# A chunk with no other within these seconds belongs to no conversation.
APART_S = 2.0
# What Whisper hears at once.
WINDOW_S = 30


def voiced_seconds(chunk: Chunk) -> float:
    """Seconds of speech in the chunk."""
    return sum(end - start for start, end in chunk.speech)


def apart(channels: Sequence[Sequence[Chunk]]) -> list[list[Chunk]]:
    """The chunks of all channels, those marked that have no other of any channel within APART_S before and after them."""
    everyone = sorted((c.start, c.end) for chunks in channels for c in chunks)
    starts = [start for start, _ in everyone]
    ends = [-inf, *accumulate((end for _, end in everyone), max)]  # the latest of the first n

    def stands_apart(chunk: Chunk) -> bool:
        first, beyond = bisect_left(starts, chunk.start), bisect_right(starts, chunk.end + APART_S)
        return beyond == first + 1 and ends[first] + APART_S < chunk.start

    return [[replace(c, apart=stands_apart(c)) for c in chunks] for chunks in channels]


def passed_over(chunks: Sequence[Chunk], segments: Sequence[Segment]) -> list[Chunk]:
    """The chunks with SHORTEST_S of speech or more that no segment reaches into."""
    ordered = sorted(segments, key=lambda s: s.start)
    starts = [s.start for s in ordered]
    ends = [0.0, *accumulate((s.end for s in ordered), max)]  # the latest of the first n
    told = (ends[bisect_left(starts, chunk.end)] > chunk.start for chunk in chunks)
    return [c for c, known in zip(chunks, told, strict=True) if not known and voiced_seconds(c) >= SHORTEST_S]


def padded(missed: Sequence[Chunk], chunks: Sequence[Chunk], duration_s: float) -> list[Chunk]:
    """`missed`, some of `chunks`, each wider by PAD_S on both sides where no neighbour and no end of the recording is, and
    as far as the recognizer's window reaches."""
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
