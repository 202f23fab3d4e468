"""Words, segments, turns and the transcript: the data that the stages pass on. Knows no model and no file.

Times are seconds from the start of the recording. A *turn* is a span in which the diarizer detects one speaker
(`label`, such as SPEAKER_00); a *segment* is a span of text; a *word* is a part of a segment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict, cast

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The seconds `start` to `end` that the recognizer decodes as one piece, and the spans of speech in it.

    `apart`: there is a long pause before and after it (engines/missed_speech.py).
    """

    start: float
    end: float
    speech: tuple[Span, ...]
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its times. `score` is the aligner's confidence, 0 to 1, or None when the word could not be aligned
    and its times are `interpolated`; `overlap`: two speak during it."""

    text: str
    start: float
    end: float
    score: float | None = None
    label: str | None = None
    interpolated: bool = False
    chars: tuple[Mapping[str, object], ...] = ()
    overlap: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """A span of text, after diarization of one speaker; `words` is empty until the aligner has run.

    `suspect`: the reasons why the text may be invented (engines/hallucination.py); empty when there are none.
    `overlap`: somebody else speaks too during a part of it.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    label: str | None = None
    avg_logprob: float | None = None
    suspect: tuple[str, ...] = ()
    overlap: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """A span, `start` to `end`, in which the diarizer detects the speaker `label`."""

    start: float
    end: float
    label: str


@dataclass(frozen=True, slots=True)
class Voiceprint:
    """A speaker's embedding (a unit vector), the encoder that computed it (name@revision), and the seconds of speech used."""

    model: str
    seconds: float
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Speaker:
    """One diarized speaker. `name` is None when no enrolled voice matches; `score` is the cosine of the best match."""

    label: str
    name: str | None = None
    score: float | None = None
    seconds: float = 0.0
    reason: str | None = None
    embedding: Voiceprint | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """A finished transcript: who said what, when.

    `language` is None when there was no speech to detect it from; its probability is None when the job named it.
    """

    language: str | None
    duration: float
    segments: tuple[Segment, ...] = ()
    speakers: tuple[Speaker, ...] = ()
    language_probability: float | None = None
    names: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", {s.label: s.name for s in self.speakers if s.name})

    def display(self, label: str | None) -> str | None:
        """Return the name shown for a label: the enrolled name if there is one, else the label itself."""
        return None if label is None else self.names.get(label, label)


class _Scored(TypedDict, total=False):
    score: float | None
    interpolated: bool


class TimedWord(_Scored):
    """An aligned word, as the aligner returns it."""

    word: str
    start: float
    end: float


def words_with_times(
    words: Sequence[Mapping[str, object]], start: float, end: float, longest: float = math.inf
) -> list[TimedWord]:
    """Give every word a start and an end: words without times share the gap around them in proportion to their letters.

    `words` come from the aligner ({word, start?, end?, score?}); `start` and `end` bound the segment. A word whose times
    were filled in has `interpolated: True` and lasts at most `longest` seconds a letter. Times never run backwards.
    """
    # The cast is true on return: words without times get them below.
    timed = [cast(TimedWord, dict(w)) for w in words]
    at = 0
    while at < len(timed):
        stop = at
        while stop < len(timed) and not _is_timed(timed[stop]):
            stop += 1
        left = timed[at - 1]["end"] if at else start
        right = max(left, timed[stop]["start"] if stop < len(timed) else end)
        weights = [len(w["word"]) or 1 for w in timed[at:stop]]
        letters, clock = sum(weights), left
        for word, weight in zip(timed[at:stop], weights, strict=True):
            length = weight * min((right - left) / letters, longest)
            word |= {"start": round(clock, 3), "end": round(clock + length, 3), "interpolated": True}
            clock += length
        at = stop + 1
    return timed


def _is_timed(word: Mapping[str, object]) -> bool:
    return word.get("start") is not None and word.get("end") is not None


def talk_seconds(turns: Iterable[Turn]) -> dict[str, float]:
    """Sum the seconds of speech by label; a second in which two speak counts for both."""
    seconds: dict[str, float] = {}
    for turn in turns:
        seconds[turn.label] = seconds.get(turn.label, 0.0) + turn.end - turn.start
    return seconds


def alone(turns: Sequence[Turn]) -> dict[str, list[Span]]:
    """Return by label the spans in which that speaker speaks alone, in order: speech fit for a speaker embedding."""
    spans: dict[str, list[Span]] = {t.label: [] for t in turns}
    for left, right, labels in speaking(turns):
        if len(labels) == 1:
            lengthen(spans[labels[0]], left, right)
    return spans


def lengthen(spans: list[Span], start: float, end: float) -> None:
    """Append a span to a sorted list; if it begins where the last span ends, extend that span instead."""
    if spans and spans[-1][1] == start:
        spans[-1] = (spans[-1][0], end)
    else:
        spans.append((start, end))


def speaking(turns: Iterable[Turn]) -> Iterator[tuple[float, float, list[str]]]:
    """Yield (start, end, labels speaking) for each interval between two edges of turns, in order, silence included."""
    # A turn cut to zero length by the recording's end would be closed before it is opened.
    lasting = [t for t in turns if t.end > t.start]
    edges = sorted({t.start for t in lasting} | {t.end for t in lasting})
    opening: dict[float, list[str]] = {}
    closing: dict[float, list[str]] = {}
    for turn in lasting:
        opening.setdefault(turn.start, []).append(turn.label)
        closing.setdefault(turn.end, []).append(turn.label)
    active: dict[str, int] = {}
    for left, right in zip(edges, edges[1:], strict=False):
        for label in closing.get(left, []):
            active[label] -= 1
        for label in opening.get(left, []):
            active[label] = active.get(label, 0) + 1
        yield left, right, [label for label, count in active.items() if count > 0]
