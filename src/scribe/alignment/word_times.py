"""Times that hold: no word over a pause, none before the one it follows. Ours and not whisperX's, left out in parity.

A letter takes a frame when it is entered and lasts until the next one is. Nothing in that path asks whether anybody
speaks meanwhile, so that a word before a pause with some noise in it lasts until its end (whisperX issues #405, #896).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from scribe.audio.decode import Samples
from scribe.transcript import Segment, Span, Word

# Start and end in seconds, and the aligner's score; None where it has no such letter and heard nothing.
Letter = tuple[float, float, float | None]

FRAME_S = 0.02
# A quiet stretch this long is a pause. The closure of a stop (t, k, p) is quiet for a third of it at most.
PAUSE_S = 0.3
# Quiet is what lies in the lowest third of the range (in decibels) from the quietest twentieth of the frames to the loudest tenth.
LOWEST, LOUD, PART = 5, 90, 0.35
# With less between them there is no telling speech from what lies under it, music or a machine.
LEAST_DB = 10.0
# What a word keeps of the pause behind it: the end of an s or an f is as quiet as a room.
EDGE_S = 0.1
# The longest that a letter is drawn out, however loud: what goes on is speech that the text leaves out.
LETTER_S = 1.0
# A letter or two beyond a pause are strays; more were heard there, and the pause is the word's own ("un- believable").
STRAYS = 2


def pauses(samples: Samples, rate: int, start: float) -> list[Span]:
    """The quiet stretches of at least PAUSE_S of float samples, in seconds; the first sample is at `start`."""
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
    """The letters' times, by place in the text, held inside what their word really spans. `words`: each one's places."""
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
    """Start and end of a word, from its letters in order (at least one) and the pauses around it, in order.

    Cut at the pauses inside it, the word is the part with most of its letters, and every part with more than STRAYS;
    without such a part, and without a letter that the aligner knows, the longest.
    """
    start, end = letters[0][0], letters[-1][1]
    if end - start <= PAUSE_S:
        return start, end
    heard = any(score is not None for _, _, score in letters)
    breaks = [(a, b) for a, b in quiet if min(b, end) - max(a, start) > PAUSE_S]
    if heard:
        followers = [*(letter[0] for letter in letters[1:]), end]
        holds = zip((letter[0] for letter in letters), followers, strict=True)
        breaks = sorted(breaks + [(a + LETTER_S, b) for a, b in holds if b - a > LETTER_S])
    if not breaks:
        return start, end if heard else min(end, start + LETTER_S * len(letters))
    parts = _outside(breaks, start, end)
    inside: list[list[Letter]] = [[] for _ in parts]
    for letter in letters:
        at = letter[0]
        inside[min(range(len(parts)), key=lambda n: max(parts[n][0] - at, at - parts[n][1], 0.0))].append(letter)
    kept = [n for n, own in enumerate(inside) if len(own) > STRAYS]
    if not kept:

        def weight(n: int) -> tuple[float, ...]:
            scores = [score or 0.0 for _, _, score in inside[n]]
            return (len(scores), sum(scores)) if heard else (parts[n][1] - parts[n][0],)

        kept = [max(range(len(parts)), key=weight)]
    (left, _), (_, right) = parts[kept[0]], parts[kept[-1]]
    if not heard:
        return left, min(end, right + EDGE_S, left + LETTER_S * len(letters))
    # A letter may be heard as the pause before it ends.
    return max(start, min(left, max(inside[kept[0]][0][0], left - EDGE_S))), min(end, right + EDGE_S)


def _outside(breaks: Sequence[Span], start: float, end: float) -> list[Span]:
    """What is left of `start` to `end` between the breaks; the start itself when nothing is."""
    found, at = [], start
    for a, b in breaks:
        if a > at:
            found.append((at, min(a, end)))
        at = max(at, b)
    if at < end:
        found.append((at, end))
    return found or [(start, start)]


def in_order(segments: Sequence[Segment]) -> list[Segment]:
    """The segments by start, their words' times never overlapping nor running backwards, across segments too."""
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
