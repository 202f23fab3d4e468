"""What was said and has no text: stretches of speech that the recognizer passed over. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .transcript import Chunk, Segment

# Less is a cough, or a breath that the detector took for speech.
SHORTEST_S = 0.5
# Given to a chunk on both sides when it is listened to once more: its first or last sound may have been cut off.
PAD_S = 0.3


def voiced_seconds(chunk: Chunk) -> float:
    """Seconds of speech in the chunk."""
    return sum(end - start for start, end in chunk.speech)


def passed_over(chunks: Sequence[Chunk], segments: Sequence[Segment]) -> list[Chunk]:
    """The chunks, in time order, with SHORTEST_S of speech or more in which no segment begins."""
    starts = sorted(s.start for s in segments)
    found, place = [], 0
    for chunk in chunks:
        # A segment's times are rounded to milliseconds.
        while place < len(starts) and starts[place] < chunk.start - 0.001:
            place += 1
        told = place < len(starts) and starts[place] < chunk.end
        if not told and voiced_seconds(chunk) >= SHORTEST_S:
            found.append(chunk)
    return found


def padded(missed: Sequence[Chunk], chunks: Sequence[Chunk], duration_s: float) -> list[Chunk]:
    """`missed`, some of `chunks`, each wider by PAD_S on both sides where no neighbour and no end of the recording is."""
    numbers = {chunk.start: n for n, chunk in enumerate(chunks)}
    found = []
    for chunk in missed:
        n = numbers[chunk.start]
        before = chunks[n - 1].end if n else 0.0
        after = chunks[n + 1].start if n + 1 < len(chunks) else duration_s
        start, end = max(before, chunk.start - PAD_S), min(after, chunk.end + PAD_S)
        found.append(replace(chunk, start=min(start, chunk.start), end=max(end, chunk.end)))
    return found
