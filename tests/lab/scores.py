"""How good is a transcript: pure functions from truth and answer to numbers that can be pooled over recordings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of one recording, or of several added up."""

    words: int
    """Words of the reference."""
    word_errors: int
    start_errors: tuple[float, ...]
    """Seconds, absolute, one for every word that was recognised as what it is and has a time."""
    speech: float
    """Seconds of the reference's speech, overlapped speech counted for every speaker."""
    missed: float
    false_alarm: float
    confusion: float
    clips: int = 1
    right_counts: int = 0
    """Recordings whose number of speakers is right."""

    @property
    def word_error_rate(self) -> float:
        return self.word_errors / max(1, self.words)

    @property
    def diarization_error_rate(self) -> float:
        return (self.missed + self.false_alarm + self.confusion) / self.speech if self.speech else 0.0

    def start_error(self, percentile: float | None = None) -> float:
        """Seconds: the mean, or a percentile in 0..100; not-a-number when no word matched."""
        if not self.start_errors:
            return float("nan")
        return float(np.mean(self.start_errors) if percentile is None else np.percentile(self.start_errors, percentile))


def pool(scores: Iterable[Score]) -> Score:
    """One score over all recordings: counts are added, so a long recording weighs more than a short one."""
    scores = list(scores)
    return Score(
        words=sum(score.words for score in scores),
        word_errors=sum(score.word_errors for score in scores),
        start_errors=tuple(error for score in scores for error in score.start_errors),
        speech=sum(score.speech for score in scores),
        missed=sum(score.missed for score in scores),
        false_alarm=sum(score.false_alarm for score in scores),
        confusion=sum(score.confusion for score in scores),
        clips=sum(score.clips for score in scores),
        right_counts=sum(score.right_counts for score in scores),
    )


def plain(text: str) -> list[str]:
    """The words of a text without case and punctuation, as they are compared."""
    return "".join(c for c in text.lower() if c.isalnum() or c.isspace()).split()


def match_words(reference: Sequence[str], answer: Sequence[str]) -> tuple[int, list[tuple[int, int]]]:
    """Levenshtein: (least number of substitutions, deletions and insertions, pairs of indices of the words that are equal)."""
    cost = np.zeros((len(reference) + 1, len(answer) + 1), int)
    cost[:, 0] = range(len(reference) + 1)
    cost[0] = range(len(answer) + 1)
    for i, word in enumerate(reference):
        for j, other in enumerate(answer):
            cost[i + 1, j + 1] = min(cost[i, j + 1] + 1, cost[i + 1, j] + 1, cost[i, j] + (word != other))
    i, j, pairs = len(reference), len(answer), []
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + (reference[i - 1] != answer[j - 1]):
            i, j = i - 1, j - 1
            if reference[i] == answer[j]:
                pairs.append((i, j))
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return int(cost[-1, -1]), pairs[::-1]


def score(truth: dict, answer: dict) -> Score:
    """`truth` has `words` and `turns`, `answer` has `segments` (with `words`) and `turns`; a turn is {start, end, speaker}.

    Diarization error without a collar and with overlapped speech, by pyannote.metrics.
    """
    from pyannote.metrics.diarization import DiarizationErrorRate

    spoken = [
        (token, word.get("start"))
        for segment in answer["segments"]
        for word in timed(segment)
        for token in plain(word["word"])
    ]
    said = [(token, word["start"]) for word in truth["words"] for token in plain(word["word"])]
    errors, pairs = match_words([word for word, _ in said], [word for word, _ in spoken])
    starts = tuple(abs(said[i][1] - spoken[j][1]) for i, j in pairs if spoken[j][1] is not None)
    detail = DiarizationErrorRate()(_annotation(truth["turns"]), _annotation(answer["turns"]), detailed=True)
    return Score(
        words=len(said),
        word_errors=errors,
        start_errors=starts,
        speech=detail["total"],
        missed=detail["missed detection"],
        false_alarm=detail["false alarm"],
        confusion=detail["confusion"],
        right_counts=int(_speakers(truth["turns"]) == _speakers(answer["turns"])),
    )


def timed(segment: dict) -> list[dict]:
    """A segment's words; of one that was never aligned, its text without times."""
    return segment.get("words") or [{"word": word} for word in segment["text"].split()]


def _speakers(turns: list[dict]) -> int:
    return len({turn["speaker"] for turn in turns})


def _annotation(turns: list[dict]):
    from pyannote.core import Annotation, Segment

    annotation = Annotation()
    for number, turn in enumerate(turns):
        annotation[Segment(turn["start"], turn["end"]), number] = turn["speaker"]
    return annotation


HEADER = (
    f"{'clip':18} {'words':>6} {'WER %':>6} {'start ms':>8} {'median':>6} {'p95':>5} "
    f"{'DER %':>6} {'miss':>5} {'f.a.':>5} {'conf':>5}  speakers"
)


def row(name: str, one: Score, speakers: str) -> str:
    """A line under HEADER; miss, false alarm and confusion in per cent of the speech."""
    share = 100 / one.speech if one.speech else 0.0
    return (
        f"{name:18} {one.words:6d} {100 * one.word_error_rate:6.1f} {1000 * one.start_error():8.1f} {1000 * one.start_error(50):6.1f} "
        f"{1000 * one.start_error(95):5.0f} {100 * one.diarization_error_rate:6.1f} {share * one.missed:5.1f} "
        f"{share * one.false_alarm:5.1f} {share * one.confusion:5.1f}  {speakers}"
    )
