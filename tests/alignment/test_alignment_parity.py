"""The fast alignment without the rules that are ours is whisperX's: the same path, the same times, for every text."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import stock_punkt
from support.aligners import ALIGNERS, ODD, TEXTS, prepared
from support.demo import models, recording, sound, truth
from whisperx import alignment as stock

from scribe.alignment.aligner import Aligner, _segment
from scribe.alignment.sentences import Sentences
from scribe.alignment.viterbi import letter_spans, with_wildcard
from scribe.transcript import Segment

SCORE = 0.001 + 1e-9
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(
    frames=st.integers(1, 60),
    columns=st.integers(2, 8),
    seed=st.integers(0, 10**6),
    peaky=st.booleans(),
    data=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_the_path_is_the_one_of_the_stock_trellis(
    frames: int, columns: int, seed: int, peaky: bool, data: st.DataObject
) -> None:
    dice = np.random.default_rng(seed)
    scores = torch.from_numpy(dice.standard_normal((frames, columns)).astype(np.float32) * (8 if peaky else 1))
    emission = torch.log_softmax(scores, dim=-1)
    blank = data.draw(st.integers(0, columns - 1))
    tokens = data.draw(st.lists(st.integers(0, columns - 1), min_size=1, max_size=70))
    path = stock.backtrack(stock.get_trellis(emission, tokens, blank), emission, tokens, blank)
    other = torch.log_softmax(torch.from_numpy(dice.standard_normal((columns * 7, columns)).astype(np.float32)), dim=-1)
    batch = [(emission.numpy(), tokens), (other.numpy(), tokens[: columns * 3])]
    found, _ = letter_spans(batch, blank) if peaky else (*letter_spans(batch[:1], blank), None)
    if path is None:
        assert found is None
        return
    expected = stock.merge_repeats(path, [str(t) for t in tokens])
    assert found is not None
    assert [(s.start, s.end) for s in found] == [(s.start, s.end) for s in expected]
    assert [s.score for s in found] == pytest.approx([s.score for s in expected], abs=1e-6)


def test_a_letter_that_the_model_does_not_know_is_as_likely_as_the_best_but_blank() -> None:
    emission = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], np.float32))
    assert with_wildcard(emission, 0)[:, 3].tolist() == emission[[0, 1], [1, 2]].tolist()


def both(
    aligner: Aligner, segments: list[Segment], audio: Any, method: str, characters: bool
) -> tuple[list[Segment], list[Segment]]:
    """(our segments without our rules, those of whisperX's own function over the whole recording)."""
    aligner = copy.copy(aligner)
    aligner._rules, aligner.sentences = False, Sentences(aligner._metadata["language"], stock_punkt.folder(), True)
    ours = aligner.align(segments, audio, method, characters)
    told = [{"start": s.start, "end": s.end, "text": s.text, "avg_logprob": s.avg_logprob} for s in segments]
    found = stock.align(
        told, aligner._model, aligner._metadata, audio[:], "cpu", method, return_char_alignments=characters
    )
    return ours, [_segment(s, characters) for s in found["segments"]]


def assert_equal(ours: list[Segment], theirs: list[Segment]) -> None:
    assert [(s.text, s.start, s.end, s.avg_logprob) for s in ours] == [
        (s.text, s.start, s.end, s.avg_logprob) for s in theirs
    ]
    for one, other in zip((w for s in ours for w in s.words), (w for s in theirs for w in s.words), strict=True):
        assert (one.text, one.start, one.end, one.interpolated) == (
            other.text,
            other.start,
            other.end,
            other.interpolated,
        )
        assert (one.score is None) == (other.score is None)
        assert one.score is None or abs(one.score - other.score) <= SCORE  # type: ignore[operator]
        for a, b in zip(one.chars, other.chars, strict=True):
            assert {k: v for k, v in a.items() if k != "score"} == {k: v for k, v in b.items() if k != "score"}
            assert abs(a.get("score", 0) - b.get("score", 0)) <= SCORE


@pytest.mark.parametrize("language", ALIGNERS)
@given(data=st.data())
@relaxed
def test_every_text_is_cut_timed_and_scored_as_by_whisperx(language: str, data: st.DataObject) -> None:
    audio = sound("parity", np.zeros(16000 * 12, np.float32))
    start = data.draw(st.floats(0, 11).map(lambda t: round(t, 3)))
    length = data.draw(st.sampled_from([0.01, 0.021, 0.5, 2.0, 7.3]))
    texts = data.draw(st.lists(TEXTS[language] | st.sampled_from(ODD), min_size=1, max_size=3))
    segments = [Segment(start, start + length, text, avg_logprob=-0.25) for text in texts]
    method = data.draw(st.sampled_from(["nearest", "linear", "ignore"]))
    ours, theirs = both(prepared(language, ALIGNERS[language]), segments, audio, method, data.draw(st.booleans()))
    assert_equal(ours, theirs)


def test_numpys_half_is_rounded_as_pythons() -> None:
    audio = sound("parity", np.zeros(16000 * 12, np.float32))
    ours, theirs = both(prepared("zh", ALIGNERS["zh"]), [Segment(0.0, 0.5, "a|b")], audio, "linear", False)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("characters", [False, True])
@pytest.mark.parametrize("stem", ["conversation", "call"])
def test_real_speech_is_aligned_as_by_whisperx(stem: str, characters: bool) -> None:
    name = {"conversation": "conversation.mp3", "call": "call.flac"}[stem]
    segments = [Segment(t["start"], t["end"], f" {t['text']}", avg_logprob=-0.1) for t in truth(stem)["turns"]]
    odd = [Segment(t.start, t.end, text) for t, text in zip(segments, ODD, strict=False)]
    for given_segments in (segments, odd):
        ours, theirs = both(models().aligner("en"), given_segments, recording(name)[0], "nearest", characters)
        assert_equal(ours, theirs)
