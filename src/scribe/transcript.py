"""Words, segments, turns and the transcript: what every stage reads or writes. Pure; knows no model and no file.

Times are seconds from the start of the recording. A *turn* is a stretch in which the diarizer hears one speaker
(`label`, such as SPEAKER_00); a *segment* is a stretch of text; a *word* is a part of a segment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict, cast

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Seconds `start` to `end` that the recognizer takes in one piece, and the stretches of speech within.

    `apart`: nobody speaks for a while before and after it (coverage.py).
    """

    start: float
    end: float
    speech: tuple[Span, ...]
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its times. `score` is the aligner's confidence, 0 to 1, None where it heard nothing and the word is
    `interpolated`; `overlap`: two speak during it."""

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
    """A stretch of text by (after diarization) one speaker; `words` is empty until the aligner has run.

    `suspect`: why the text may be invented (gates.py); empty for what can be trusted.
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
    """The diarizer hears the speaker `label` from `start` to `end`."""

    start: float
    end: float
    label: str


@dataclass(frozen=True, slots=True)
class Voiceprint:
    """A speaker's embedding (a unit vector), the encoder that made it (name@revision), and the seconds of speech behind it."""

    model: str
    seconds: float
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Speaker:
    """One diarized speaker. `name` is None when nobody enrolled matches; `score` is the cosine of the best match."""

    label: str
    name: str | None = None
    score: float | None = None
    seconds: float = 0.0
    reason: str | None = None
    embedding: Voiceprint | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """Who said what, when.

    `language` is None when there was no speech to hear it on; its probability is None when the caller named it.
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
        """The name a reader sees for a label: the enrolled name where there is one, else the label itself."""
        return None if label is None else self.names.get(label, label)


class _Scored(TypedDict, total=False):
    score: float | None
    interpolated: bool


class TimedWord(_Scored):
    """The aligner's shape of a word, once it has its times."""

    word: str
    start: float
    end: float


def words_with_times(
    words: Sequence[Mapping[str, object]], start: float, end: float, longest: float = math.inf
) -> list[TimedWord]:
    """Give every word a start and an end: a run without times shares the gap around it by length of its letters.

    `words` are the aligner's ({word, start?, end?, score?}); `start` and `end` bound the segment. What had to be
    filled in carries `interpolated: True` and lasts at most `longest` seconds a letter. Times never run backwards.
    """
    # Those without times get them below.
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
    """Seconds of talk per label; a second in which two speak counts for both."""
    seconds: dict[str, float] = {}
    for turn in turns:
        seconds[turn.label] = seconds.get(turn.label, 0.0) + turn.end - turn.start
    return seconds


def alone(turns: Sequence[Turn]) -> dict[str, list[Span]]:
    """Per label the spans in which nobody else speaks, in order: the clean speech that a voice is known by."""
    spans: dict[str, list[Span]] = {t.label: [] for t in turns}
    for left, right, labels in speaking(turns):
        if len(labels) == 1:
            lengthen(spans[labels[0]], left, right)
    return spans


def lengthen(spans: list[Span], start: float, end: float) -> None:
    """Add a span behind those in order: one that begins where the last ends makes that one longer."""
    if spans and spans[-1][1] == start:
        spans[-1] = (spans[-1][0], end)
    else:
        spans.append((start, end))


def speaking(turns: Iterable[Turn]) -> Iterator[tuple[float, float, list[str]]]:
    """(start, end, who speaks then) from one edge of a turn to the next, in order; stretches of silence are among them."""
    # A turn that the recording's end cut down to nothing closes before it opens.
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
