"""Assign speakers to words and segments, by the turns of a diarization.

Each word gets the label of the speaker with most speech in it, or of the nearest turn; segments are cut where the label
changes. Differences from whisperX, left out in parity mode:

* the distance to a turn is measured to its edges, not between middles (a long turn that ends just before a word is nearer
  than a short one further away), and every word gets a label;
* a single word between, or next to, words of another speaker takes their label, unless its own turn covers it and the
  other speaker is silent (whisperX issues #470, #640: flicker at the edges of turns);
* a segment without words is cut too, at the ends of its sentences (m-bain/whisperX#316: half a minute for one speaker);
* a word during which two speak is marked `overlap`, because its label and text are less certain.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from scribe.text.sentences import split_by_rules
from scribe.transcript import Segment, Span, Turn, Word, lengthen, speaking, words_with_times

# Fraction of a single word that its own turn must cover to keep its label between another speaker's words.
COVERED = 0.8
# Pause in seconds beyond which a word does not belong to its neighbour.
PAUSE_S = 1.0
# Fraction of a word, or seconds of it, during which two must speak for `overlap`: less is normal at a change of speaker.
CROWDED, CROWDED_S = 0.5, 0.2


class SpeakerTimeline:
    """The turns of a recording, indexed by start time for binary search."""

    def __init__(self, turns: Iterable[Turn]) -> None:
        ordered = sorted(turns, key=lambda t: (t.start, t.end))
        self._turns = [(t.start, t.end, t.label) for t in ordered]
        self._starts = [t.start for t in ordered]
        self._longest = max((t.end - t.start for t in ordered), default=0.0)

    def seconds(self, start: float, end: float) -> dict[str, float]:
        """Return the seconds that each label speaks between two times."""
        found: dict[str, float] = {}
        starts = self._starts
        first = bisect.bisect_left(starts, start - self._longest)
        for i in range(first, bisect.bisect_left(starts, end, first)):
            begin, stop, label = self._turns[i]
            overlap = (stop if stop < end else end) - (begin if begin > start else start)
            if overlap > 0:
                found[label] = found.get(label, 0.0) + overlap
        return found

    def most(self, start: float, end: float) -> str | None:
        """Return the label that speaks most in the span; None when nobody speaks."""
        found = self.seconds(start, end)
        if len(found) > 1:
            return max(found, key=found.__getitem__)
        return next(iter(found), None)

    def label(self, start: float, end: float) -> str | None:
        """Return the label that speaks most in the span, else that of the nearest turn; None only without any turns."""
        return self.most(start, end) or (self._nearest(start, end) if self._turns else None)

    def _nearest(self, start: float, end: float) -> str:
        """Return the label of the turn whose edge is nearest to a span in which nobody speaks."""
        at = bisect.bisect_left(self._starts, end)
        before = range(bisect.bisect_left(self._starts, self._starts[at - 1] - self._longest), at) if at else range(0)
        distances = [(start - self._turns[i][1], i) for i in before]
        if at < len(self._turns):
            distances.append((self._starts[at] - end, at))
        return self._turns[min(distances)[1]][2]


def assign_speakers(
    segments: Iterable[Segment], turns: Sequence[Turn], spoken: Sequence[Turn] = (), language: str = "en"
) -> list[Segment]:
    """Label every word and segment, and cut segments where the speaker changes.

    `turns` do not overlap; `spoken` may, and words are marked `overlap` where they do. `language` selects the rules by
    which segments without words are split into sentences.
    """
    both = [Turn(a, b, "") for a, b in crowded(spoken)]
    floor, talk, crowd = SpeakerTimeline(turns), SpeakerTimeline(spoken), SpeakerTimeline(both) if both else None
    labelled: list[Segment] = []
    for segment in segments:
        if segment.words:
            labelled.extend(_cut(segment, _labelled(segment.words, floor, talk, crowd)))
        else:
            guessed = [replace(w, label=floor.label(w.start, w.end)) for w in _sentences(segment, language)]
            labelled.extend(replace(s, words=()) for s in _cut(segment, _marked(guessed, crowd)))
    return labelled


def label_by_speaker(
    segments: Sequence[Segment], exclusive: Sequence[Turn], turns: Sequence[Turn], language: str
) -> tuple[list[Segment], list[Turn]]:
    """Assign speakers and drop those who have no word; return (labelled segments, the remaining speakers' turns).

    If a segment has no words, as in a translation, no speaker is dropped. The remaining labels are renumbered in the same
    order.
    """
    labelled = assign_speakers(segments, exclusive, turns, language)
    labels = with_text(labelled)
    # A segment without words got the label of its main speaker, but others may have spoken in it too.
    if labels == {t.label for t in turns} or not all(s.words for s in segments):
        return labelled, list(turns)
    new = {label: f"SPEAKER_{number:02d}" for number, label in enumerate(sorted(labels))}
    alone, spoken = ([replace(t, label=new[t.label]) for t in part if t.label in new] for part in (exclusive, turns))
    return assign_speakers(segments, alone, spoken, language), spoken


def with_text(segments: Iterable[Segment]) -> set[str]:
    """Return the labels of all words, and of segments without words."""
    labels = {part.label for segment in segments for part in (segment.words or (segment,))}
    return {label for label in labels if label is not None}


def assigned_as_by_whisperx(segments: Iterable[Segment], turns: Sequence[Turn]) -> list[Segment]:
    """Assign speakers as whisperX does, for parity: segments are not cut, and without a turn there is no label."""
    floor = SpeakerTimeline(turns)
    return [
        replace(
            s,
            label=floor.most(s.start, s.end),
            words=tuple(replace(w, label=floor.most(w.start, w.end)) for w in s.words),
        )
        for s in segments
    ]


def crowded(turns: Iterable[Turn]) -> list[Span]:
    """Return the spans in which two or more speak, in order and merged."""
    found: list[Span] = []
    for left, right, labels in speaking(turns):
        if len(labels) > 1:
            lengthen(found, left, right)
    return found


def _labelled(
    words: Sequence[Word], floor: SpeakerTimeline, talk: SpeakerTimeline, crowd: SpeakerTimeline | None
) -> list[Word]:
    labels = _without_flicker(words, [floor.label(w.start, w.end) for w in words], floor, talk)
    return _marked(
        [
            Word(w.text, w.start, w.end, w.score, label, w.interpolated, w.chars)
            for w, label in zip(words, labels, strict=True)
        ],
        crowd,
    )


def _marked(words: list[Word], crowd: SpeakerTimeline | None) -> list[Word]:
    if crowd is None:
        return words
    for i, word in enumerate(words):
        shared = crowd.seconds(word.start, word.end)
        if shared and shared[""] >= min(CROWDED_S, CROWDED * (word.end - word.start)):
            words[i] = replace(word, overlap=True)
    return words


def _without_flicker(
    words: Sequence[Word], labels: list[str | None], floor: SpeakerTimeline, talk: SpeakerTimeline
) -> list[str | None]:
    """Give a lone word its neighbours' label, unless its own turn covers it and the neighbours' speaker is silent.

    The neighbours of the first or last word are the two words next to it.
    """
    calm, last = list(labels), len(words) - 1
    if last < 2:
        return calm
    for i, label in enumerate(labels):
        if i and label == calm[i - 1]:
            continue
        before, behind = (i - 1, i + 1) if 0 < i < last else (1, 2) if i == 0 else (last - 2, last - 1)
        around = calm[before]
        if label is None or label == around or around is None or labels[behind] != around:
            continue
        near = [n for n in (i - 1, i + 1) if 0 <= n <= last]
        if any(max(words[n].start - words[i].end, words[i].start - words[n].end) > PAUSE_S for n in near):
            continue
        start, end = words[i].start, words[i].end
        length = end - start
        covered = floor.seconds(start, end).get(label, 0.0) >= COVERED * length
        if not covered or talk.seconds(start, end).get(around, 0.0) >= max(CROWDED * length, 1e-9):
            calm[i] = around
    return calm


def _sentences(segment: Segment, language: str) -> list[Word]:
    """Return a segment's sentences as words, with times interpolated by the number of letters."""
    texts = [segment.text[a:b].strip() for a, b in split_by_rules(segment.text, language)] or [segment.text]
    timed = words_with_times([{"word": text} for text in texts], segment.start, segment.end)
    return [Word(w["word"], w["start"], w["end"]) for w in timed]


def _cut(segment: Segment, words: Sequence[Word]) -> Iterator[Segment]:
    runs: list[list[Word]] = []
    for word in words:
        if runs and runs[-1][-1].label == word.label:
            runs[-1].append(word)
        else:
            runs.append([word])
    texts = [segment.text] if len(runs) == 1 else _texts(runs, segment.text)
    for run, text in zip(runs, texts, strict=True):
        start, end = (segment.start, segment.end) if len(runs) == 1 else (run[0].start, run[-1].end)
        both = any(w.overlap for w in run)
        yield replace(segment, start=start, end=end, text=text, words=tuple(run), label=run[0].label, overlap=both)


def _texts(runs: Sequence[Sequence[Word]], original: str) -> list[str]:
    """Return the text of each run as written in `original`, by finding its words there in order."""
    starts, at = [], 0
    for run in runs:
        for n, word in enumerate(run):
            place = original.find(word.text, at)
            if place < 0:
                return [(" " if " " in original.strip() else "").join(w.text for w in r) for r in runs]
            if n == 0:
                starts.append(place)
            at = place + len(word.text)
    starts[0] = 0
    return [original[a:b].strip() for a, b in zip(starts, [*starts[1:], len(original)], strict=True)]
