"""Correct word times: no word extends over a pause or overlaps the previous one. Not in whisperX, left out in parity.

On the best path a letter lasts until the next one is entered, with speech or without, so that a word before a pause with
some noise in it lasts until the pause ends (whisperX issues #405, #896).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from scribe.audio.decode import Samples
from scribe.transcript import Segment, Span, Word

# Start and end in seconds, and the aligner's score: None for characters outside its vocabulary.
Letter = tuple[float, float, float | None]

FRAME_S = 0.02
# Seconds of quiet that are a pause. The closure of a plosive (t, k, p) is quiet for at most a third of it.
PAUSE_S = 0.3
# A frame is quiet in the lowest PART of the range, in decibels, between these percentiles of the frames' levels.
LOWEST, LOUD, PART = 5, 90, 0.35
# With a smaller range, speech cannot be distinguished from background sound such as music.
LEAST_DB = 10.0
# Seconds of the following pause that a word keeps: the end of an s or an f is as quiet as background noise.
EDGE_S = 0.1
# Most seconds of a letter, however loud: the rest is speech that is not in the text.
LETTER_S = 1.0
# Up to so many letters after a pause count as alignment errors; more mean a pause within the word ("un- believable").
STRAYS = 2


def pauses(samples: Samples, rate: int, start: float) -> list[Span]:
    """Return the pauses, at least PAUSE_S long, of float samples, in seconds; the first sample is at `start`."""
    size = round(FRAME_S * rate)
    count = len(samples) // size
    if not count:
        return []
    frames = samples[: count * size].reshape(count, size)
    level = 10 * np.log10(np.einsum("ij,ij->i", frames, frames) / size + 1e-12)
    low, high = np.percentile(level, [LOWEST, LOUD])
    if high - low < LEAST_DB:
        return []
    quiet = level < low + PART * (high - low)
    edges = np.flatnonzero(np.diff(quiet, prepend=False, append=False)).reshape(-1, 2)
    return [(start + a * FRAME_S, start + b * FRAME_S) for a, b in edges.tolist() if b - a >= PAUSE_S / FRAME_S]


def settled(times: Mapping[int, Letter], words: Iterable[Sequence[int]], quiet: Sequence[Span]) -> dict[int, Letter]:
    """Return the letters' times by position in the text, clipped to their word's span. `words`: each word's positions."""
    found = dict(times)
    for own in words:
        start, end = bounded([times[p] for p in own], quiet)
        if (start, end) == (times[own[0]][0], times[own[-1]][1]):
            continue
        for p in own:
            begin, stop, score = times[p]
            found[p] = min(max(begin, start), end), min(max(stop, start), end), score
    return found


def bounded(letters: Sequence[Letter], quiet: Sequence[Span]) -> Span:
    """Return the start and end of a word, from its letters (at least one) and the pauses, both in order.

    The word is cut at the pauses inside it. It spans all parts with more than STRAYS letters; if there is none, the part
    with most letters; without a letter that the aligner knows, the longest part.
    """
    start, end = letters[0][0], letters[-1][1]
    if end - start <= PAUSE_S:
        return start, end
    has_score = any(score is not None for _, _, score in letters)
    breaks = [(a, b) for a, b in quiet if min(b, end) - max(a, start) > PAUSE_S]
    if has_score:
        followers = [*(letter[0] for letter in letters[1:]), end]
        holds = zip((letter[0] for letter in letters), followers, strict=True)
        breaks = sorted(breaks + [(a + LETTER_S, b) for a, b in holds if b - a > LETTER_S])
    if not breaks:
        return start, end if has_score else min(end, start + LETTER_S * len(letters))
    parts = _outside(breaks, start, end)
    inside: list[list[Letter]] = [[] for _ in parts]
    for letter in letters:
        at = letter[0]
        inside[min(range(len(parts)), key=lambda n: max(parts[n][0] - at, at - parts[n][1], 0.0))].append(letter)
    kept = [n for n, own in enumerate(inside) if len(own) > STRAYS]
    if not kept:

        def weight(n: int) -> tuple[float, ...]:
            scores = [score or 0.0 for _, _, score in inside[n]]
            return (len(scores), sum(scores)) if has_score else (parts[n][1] - parts[n][0],)

        kept = [max(range(len(parts)), key=weight)]
    (left, _), (_, right) = parts[kept[0]], parts[kept[-1]]
    if not has_score:
        return left, min(end, right + EDGE_S, left + LETTER_S * len(letters))
    # The first letter may begin shortly before the pause ends.
    return max(start, min(left, max(inside[kept[0]][0][0], left - EDGE_S))), min(end, right + EDGE_S)


def _outside(breaks: Sequence[Span], start: float, end: float) -> list[Span]:
    """Return the parts of `start` to `end` outside of the breaks; an empty span at the start if there is none."""
    found, at = [], start
    for a, b in breaks:
        if a > at:
            found.append((at, min(a, end)))
        at = max(at, b)
    if at < end:
        found.append((at, end))
    return found or [(start, start)]


def in_order(segments: Sequence[Segment]) -> list[Segment]:
    """Sort the segments by start, and clip words so that they do not overlap, also across segments."""
    found: list[Segment] = []
    clock = 0.0
    for segment in sorted(segments, key=lambda s: s.start):
        words: list[Word] = []
        start = max(segment.start, clock)
        for word in segment.words:
            begin = max(word.start, clock)
            clock = max(word.end, begin)
            words.append(word if (begin, clock) == (word.start, word.end) else replace(word, start=begin, end=clock))
        start, end = (words[0].start, words[-1].end) if words else (start, max(segment.end, start))
        clock = end
        found.append(replace(segment, start=start, end=end, words=tuple(words)))
    return found
