"""Who said which word: turns laid over words, pure.

Each word gets the label of whoever speaks most in it, or of the nearest turn. Two things are better than whisperX's, and
left out in parity: *nearest* is measured to a turn's edges, not between middles (a long turn that ends just before a word
is nearer than a short one further off); and a single word amid another's speech is that other's, unless a turn of its
own covers it (whisperX issues #470, #640: flicker at the edges of turns).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .transcript import Segment, Turn, Word

# The part of a single word that its own turn must cover to stand amid another's speech.
COVERED = 0.8
# Seconds between two words beyond which they are not one flow of speech.
PAUSE_S = 1.0


class Floor:
    """Who has the floor at a time: the turns of a recording, searched and not walked."""

    def __init__(self, turns: Iterable[Turn]) -> None:
        ordered = sorted(turns, key=lambda t: (t.start, t.end))
        self._turns = [(t.start, t.end, t.label) for t in ordered]
        self._starts = [t.start for t in ordered]
        self._middles = sorted(((t.start + t.end) / 2, i) for i, t in enumerate(ordered))
        self._longest = max((t.end - t.start for t in ordered), default=0.0)

    def heard(self, start: float, end: float) -> dict[str, float]:
        """Seconds that each label speaks between two times."""
        found: dict[str, float] = {}
        starts = self._starts
        first = bisect.bisect_left(starts, start - self._longest)
        for i in range(first, bisect.bisect_left(starts, end, first)):
            begin, stop, label = self._turns[i]
            overlap = (stop if stop < end else end) - (begin if begin > start else start)
            if overlap > 0:
                found[label] = found.get(label, 0.0) + overlap
        return found

    def label(self, start: float, end: float, by_middle: bool = False) -> str | None:
        """Whoever speaks most in the span, else the nearest turn's; None only when there are no turns.

        `by_middle`: nearest between the middles of span and turn, as whisperX's `fill_nearest`.
        """
        heard = self.heard(start, end)
        if heard:
            return max(heard, key=heard.__getitem__) if len(heard) > 1 else next(iter(heard))
        if not self._turns:
            return None
        return self._by_middle((start + end) / 2) if by_middle else self._by_edge(start, end)

    def _by_middle(self, middle: float) -> str:
        at = bisect.bisect_left(self._middles, (middle, -1))
        near = min(self._middles[max(0, at - 1) : at + 1], key=lambda m: abs(m[0] - middle))
        return self._turns[near[1]][2]

    def _by_edge(self, start: float, end: float) -> str:
        """Nobody speaks in the span: the last turn to end before it, or the first to begin after."""
        at = bisect.bisect_left(self._starts, end)
        before = range(bisect.bisect_left(self._starts, self._starts[at - 1] - self._longest), at) if at else range(0)
        distances = [(start - self._turns[i][1], i) for i in before]
        if at < len(self._turns):
            distances.append((self._starts[at] - end, at))
        return self._turns[min(distances)[1]][2]


def assign_speakers(segments: Iterable[Segment], turns: Sequence[Turn], parity: bool = False) -> list[Segment]:
    """Label every word and segment, and cut segments where the speaker changes.

    A segment without words (not aligned) cannot be cut and gets the label of whoever speaks most in it.
    """
    floor = Floor(turns)
    labelled: list[Segment] = []
    for segment in segments:
        if not segment.words:
            labelled.append(replace(segment, label=floor.label(segment.start, segment.end, parity)))
            continue
        labels = [floor.label(w.start, w.end, parity) for w in segment.words]
        if not parity:
            labels = _without_flicker(segment.words, labels, floor)
        words = [
            Word(w.text, w.start, w.end, w.score, label, w.interpolated, w.chars)
            for w, label in zip(segment.words, labels, strict=True)
        ]
        labelled.extend(_cut_at_changes(segment, words))
    return labelled


def _without_flicker(words: Sequence[Word], labels: list[str | None], floor: Floor) -> list[str | None]:
    """The labels, single words amid another's speech given to that other where no turn of their own covers them."""
    calm = list(labels)
    for i in range(1, len(words) - 1):
        label, around = calm[i], calm[i - 1]
        if label is None or label == around or around is None or labels[i + 1] != around:
            continue
        if words[i].start - words[i - 1].end > PAUSE_S or words[i + 1].start - words[i].end > PAUSE_S:
            continue
        start, end = words[i].start, words[i].end
        if floor.heard(start, end).get(label, 0.0) < COVERED * (end - start):
            calm[i] = around
    return calm


def _cut_at_changes(segment: Segment, words: list[Word]) -> list[Segment]:
    runs: list[list[Word]] = []
    for word in words:
        if runs and runs[-1][-1].label == word.label:
            runs[-1].append(word)
        else:
            runs.append([word])
    if len(runs) == 1:
        return [replace(segment, words=tuple(words), label=words[0].label)]
    return [
        replace(
            segment,
            start=run[0].start,
            end=run[-1].end,
            text=_text_of(run, segment.text),
            words=tuple(run),
            label=run[0].label,
        )
        for run in runs
    ]


def _text_of(words: Sequence[Word], original: str) -> str:
    """Join as the segment was written: scripts without spaces have none between their words either."""
    return (" " if " " in original.strip() else "").join(w.text for w in words)
