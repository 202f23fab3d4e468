"""How good is a transcript: pure functions from truth and answer to numbers that can be pooled over recordings.

A truth has `words` and `turns`, an answer `segments` (with `words`) and `turns`, and `names` where speakers were named:
a turn is {start, end, speaker}, a word {word, start, end, speaker}, times in seconds. Every figure is a ratio of two
sums, so that recordings are pooled by adding: a long one weighs more than a short one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

STRETCHED_S = 0.5
"""Seconds of nobody's speech within a word's own times that make it one stretched over a silence."""


@dataclass(frozen=True, slots=True)
class Score:
    """What was counted in one recording, or in several added up (`pool`)."""

    clips: int = 1
    seconds: float = 0.0
    words: int = 0
    """Words of the reference."""
    word_errors: int = 0
    """Substitutions, deletions and insertions."""
    written: int = 0
    """Words of the answer."""
    invented: int = 0
    """Inserted words, for at least half of whose time nobody speaks; where nobody speaks at all, every word."""
    unflagged: int = 0
    """Of these, the ones that no `suspect` mark warns of."""
    heard: float = 0.0
    """Seconds of the reference's words in whose place the answer has a word, the right one or not."""
    spoken: float = 0.0
    """Seconds of the reference's words."""
    start_errors: tuple[float, ...] = ()
    """Seconds, absolute, one for every word that was recognised as what it is and has a time."""
    end_errors: tuple[float, ...] = ()
    untimed: int = 0
    """Words of the answer without a start or an end."""
    stretched: int = 0
    """Words of the answer with STRETCHED_S of nobody's speech within their times."""
    disordered: int = 0
    """Words of the answer that begin before the one before them, or end before they begin."""
    speech: float = 0.0
    """Seconds of the reference's speech, overlapped speech counted for every speaker."""
    missed: float = 0.0
    false_alarm: float = 0.0
    confusion: float = 0.0
    right_counts: int = 0
    """Recordings whose number of speakers is right."""
    listed: int = 0
    """Speakers of the answer."""
    nobody: int = 0
    """Of these, the ones who are nobody of the reference, each of whom is one speaker."""
    talk_error: float = 0.0
    """Seconds by which the talk times of people are wrong, and those of speakers who are nobody."""
    speakerless: int = 0
    """Words of the answer that carry no speaker of their own."""
    matched: int = 0
    """Words that were recognised as what they are."""
    misattributed: int = 0
    """Of these, the ones given to another speaker than whoever said them (the segment's where the word has none)."""
    neighbours: int = 0
    """Pairs of neighbouring words of the answer that the same person said."""
    flicker: int = 0
    """Of these pairs, the ones with two different speakers: changes of speaker that the reference does not have."""
    people: int = 0
    """Speakers of the reference, where the answer was to name them."""
    named_right: int = 0
    """Of these, those named as who they are, and strangers that were given no name."""
    named_wrong: int = 0
    """Of these, those given somebody else's name."""

    @property
    def word_error_rate(self) -> float:
        return self.word_errors / max(1, self.words)

    @property
    def diarization_error(self) -> float:
        """Seconds missed, invented or confused."""
        return self.missed + self.false_alarm + self.confusion

    @property
    def diarization_error_rate(self) -> float:
        return self.diarization_error / self.speech if self.speech else 0.0

    @property
    def unknown(self) -> int:
        """People left without a name although their voice is enrolled."""
        return self.people - self.named_right - self.named_wrong

    def start_error(self, percentile: float | None = None) -> float:
        """Seconds: the mean, or a percentile in 0..100; not-a-number when no word matched."""
        if not self.start_errors:
            return float("nan")
        return float(np.mean(self.start_errors) if percentile is None else np.percentile(self.start_errors, percentile))


def pool(scores: Iterable[Score]) -> Score:
    """One score over all recordings."""
    scores = list(scores)
    added = {}
    for name, spec in Score.__dataclass_fields__.items():
        values = [getattr(score, name) for score in scores]
        added[name] = tuple(v for value in values for v in value) if spec.default == () else sum(values)
    return Score(**added)


def plain(text: str) -> list[str]:
    """The words of a text without case and punctuation, as they are compared."""
    return "".join(c for c in text.lower() if c.isalnum() or c.isspace()).split()


def aligned_words(reference: Sequence[str], answer: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Levenshtein's path: pairs of indices, None on the reference's side for an inserted word, on the answer's for one
    that is missing. The least number of pairs that differ; among equals, substitutions come last in the text."""
    cost = np.zeros((len(reference) + 1, len(answer) + 1), int)
    cost[:, 0] = range(len(reference) + 1)
    cost[0] = range(len(answer) + 1)
    for i, word in enumerate(reference):
        for j, other in enumerate(answer):
            cost[i + 1, j + 1] = min(cost[i, j + 1] + 1, cost[i + 1, j] + 1, cost[i, j] + (word != other))
    i, j, path = len(reference), len(answer), []
    while i or j:
        if i and j and cost[i, j] == cost[i - 1, j - 1] + (reference[i - 1] != answer[j - 1]):
            i, j = i - 1, j - 1
            path.append((i, j))
        elif i and cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
            path.append((i, None))
        else:
            j -= 1
            path.append((None, j))
    return path[::-1]


def match_words(reference: Sequence[str], answer: Sequence[str]) -> tuple[int, list[tuple[int, int]]]:
    """(least number of substitutions, deletions and insertions, pairs of indices of the words that are equal)."""
    path = aligned_words(reference, answer)
    equal = [(i, j) for i, j in path if i is not None and j is not None and reference[i] == answer[j]]
    return len(path) - len(equal), equal


@dataclass(frozen=True, slots=True)
class _Heard:
    """One word of an answer or a reference, as it is compared."""

    token: str
    start: float | None
    end: float | None
    speaker: str | None = None
    own_speaker: bool = True
    suspect: bool = False
    around: tuple[float, float] = field(default=(0.0, 0.0))
    """The segment's times: where a word without times of its own is."""


def score(truth: Mapping, answer: Mapping, enrolled: Iterable[str] | None = None) -> Score:
    """Every count. Diarization error without a collar and with overlapped speech, by pyannote.metrics.

    `enrolled` are the names whose voices the answer knew; None: it named nobody, and nothing is counted.
    """
    said = [
        _Heard(token, word["start"], word["end"], word.get("speaker"))
        for word in truth["words"]
        for token in plain(word["word"])
    ]
    written = [
        _Heard(
            token,
            word.get("start"),
            word.get("end"),
            word.get("speaker") or segment.get("speaker"),
            word.get("speaker") is not None,
            bool(segment.get("suspect") or word.get("suspect")),
            (segment.get("start", 0.0), segment.get("end", 0.0)),
        )
        for segment in answer["segments"]
        for word in timed(segment)
        for token in plain(word["word"])
    ]
    path = aligned_words([w.token for w in said], [w.token for w in written])
    equal = [
        (said[i], written[j]) for i, j in path if i is not None and j is not None and said[i].token == written[j].token
    ]
    speech = union((turn["start"], turn["end"]) for turn in truth["turns"])
    invented = [written[j] for i, j in path if i is None and not _mostly_within(written[j], speech)]
    detail = _diarization(truth["turns"], answer["turns"])
    labels = best_pairs((a.speaker, b.speaker, 1.0) for a, b in equal)
    return Score(
        seconds=truth.get("duration", 0.0),
        words=len(said),
        word_errors=len(path) - len(equal),
        written=len(written),
        invented=len(invented),
        unflagged=sum(not word.suspect for word in invented),
        heard=sum(said[i].end - said[i].start for i, j in path if i is not None and j is not None),
        spoken=sum(word.end - word.start for word in said),
        start_errors=tuple(abs(a.start - b.start) for a, b in equal if b.start is not None),
        end_errors=tuple(abs(a.end - b.end) for a, b in equal if b.end is not None),
        untimed=sum(word.start is None or word.end is None for word in written),
        stretched=sum(_silent_s(word, speech) >= STRETCHED_S for word in written),
        disordered=disordered(written),
        **detail,
        **_talk(truth["turns"], answer),
        right_counts=int(_speakers(truth["turns"]) == _speakers(answer["turns"])),
        speakerless=sum(not word.own_speaker for word in written),
        matched=len(equal),
        misattributed=sum(labels.get(a.speaker) != b.speaker for a, b in equal),
        **_changes(said, written, path),
        **(_names(truth, answer, set(enrolled)) if enrolled is not None else {}),
    )


def timed(segment: Mapping) -> list[dict]:
    """A segment's words; of one that was never aligned, its text without times."""
    return segment.get("words") or [{"word": word} for word in segment["text"].split()]


def union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The spans in order, those that touch joined."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def covered(start: float, end: float, spans: Sequence[tuple[float, float]]) -> float:
    """Seconds between two times that lie in one of the spans, which do not overlap."""
    return sum(max(0.0, min(end, stop) - max(start, begin)) for begin, stop in spans)


def _mostly_within(word: _Heard, speech: Sequence[tuple[float, float]]) -> bool:
    start, end = (word.start, word.end) if word.start is not None and word.end is not None else word.around
    return covered(start, end, speech) > (end - start) / 2


def _silent_s(word: _Heard, speech: Sequence[tuple[float, float]]) -> float:
    if word.start is None or word.end is None:
        return 0.0
    return word.end - word.start - covered(word.start, word.end, speech)


def disordered(words: Sequence) -> int:
    """How many timed words begin before the one before them, or end before they begin."""
    known = [(w.start, w.end) for w in words if w.start is not None and w.end is not None]
    backwards = sum(b[0] < a[0] - 1e-6 for a, b in zip(known, known[1:], strict=False))
    return backwards + sum(end < start - 1e-6 for start, end in known)


def best_pairs(weights: Iterable[tuple[str, str | None, float]]) -> dict[str, str]:
    """Which label stands for which person: the one-to-one pairing with the greatest sum of `(person, label, weight)`."""
    from scipy.optimize import linear_sum_assignment

    sums: dict[tuple[str, str], float] = {}
    for person, label, weight in weights:
        if label is not None:
            sums[person, label] = sums.get((person, label), 0.0) + weight
    people, labels = sorted({p for p, _ in sums}), sorted({label for _, label in sums})
    if not sums:
        return {}
    rows, columns = linear_sum_assignment([[-sums.get((p, label), 0.0) for label in labels] for p in people])
    return {people[r]: labels[c] for r, c in zip(rows, columns, strict=True) if (people[r], labels[c]) in sums}


def _changes(said: Sequence[_Heard], written: Sequence[_Heard], path: Sequence[tuple]) -> dict[str, int]:
    """Neighbouring words of the answer that one person said, and how many of the pairs change the speaker.

    A word that nobody said has no person, and its pairs are not counted.
    """
    person = {j: said[i].speaker for i, j in path if i is not None and j is not None}
    pairs = [
        (a.speaker, b.speaker)
        for j, (a, b) in enumerate(zip(written, written[1:], strict=False))
        if person.get(j) is not None and person.get(j) == person.get(j + 1)
    ]
    return {"neighbours": len(pairs), "flicker": sum(a != b for a, b in pairs)}


def _labels(reference: Sequence[Mapping], turns: Sequence[Mapping]) -> dict[str, str]:
    """The label of each person: those who share most seconds, one to one."""
    shared = (
        (turn["speaker"], other["speaker"], min(turn["end"], other["end"]) - max(turn["start"], other["start"]))
        for turn in reference
        for other in turns
    )
    return best_pairs(pair for pair in shared if pair[2] > 0)


def _talk(reference: Sequence[Mapping], answer: Mapping) -> dict[str, float]:
    """Whom the answer lists, and how far their talk times are off; of an answer without a list its turns are it."""
    told = {s["label"]: s["seconds"] for s in answer.get("speakers", ())} or _seconds(answer["turns"])
    labels, true = _labels(reference, answer["turns"]), _seconds(reference)
    nobody = set(told) - set(labels.values())
    wrong = sum(abs(seconds - told.get(labels.get(person, ""), 0.0)) for person, seconds in true.items())
    return {"listed": len(told), "nobody": len(nobody), "talk_error": wrong + sum(told[label] for label in nobody)}


def _seconds(turns: Sequence[Mapping]) -> dict[str, float]:
    found: dict[str, float] = {}
    for turn in turns:
        found[turn["speaker"]] = found.get(turn["speaker"], 0.0) + turn["end"] - turn["start"]
    return found


def _names(truth: Mapping, answer: Mapping, enrolled: set[str]) -> dict[str, int]:
    """Each person of the reference by the name that the label with most of their speech was given."""
    labels = _labels(truth["turns"], answer["turns"])
    people = sorted({turn["speaker"] for turn in truth["turns"]})
    given = {person: answer.get("names", {}).get(labels.get(person)) for person in people}
    right = sum(name == (person if person in enrolled else None) for person, name in given.items())
    wrong = sum(name is not None and name != person for person, name in given.items())
    return {"people": len(people), "named_right": right, "named_wrong": wrong}


def _speakers(turns: Sequence[Mapping]) -> int:
    return len({turn["speaker"] for turn in turns})


def _diarization(reference: Sequence[Mapping], turns: Sequence[Mapping]) -> dict[str, float]:
    if not reference:
        return {"false_alarm": sum(turn["end"] - turn["start"] for turn in turns)}
    from pyannote.metrics.diarization import DiarizationErrorRate

    detail = DiarizationErrorRate()(_annotation(reference), _annotation(turns), detailed=True)
    keys = {"speech": "total", "missed": "missed detection", "false_alarm": "false alarm", "confusion": "confusion"}
    return {ours: detail[theirs] for ours, theirs in keys.items()}


def _annotation(turns: Sequence[Mapping]):
    from pyannote.core import Annotation, Segment

    annotation = Annotation()
    for number, turn in enumerate(turns):
        annotation[Segment(turn["start"], turn["end"]), number] = turn["speaker"]
    return annotation
