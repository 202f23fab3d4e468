"""The systems that `make lab` sets side by side, on some seconds: they answer alike where they should."""

from __future__ import annotations

import pytest
from lab.scores import score
from lab.stock import Stock
from lab.worker import Worker, models_of
from support.demo import SAMPLES, excerpt, models, recording, truth

WHOLE = truth("conversation")
SECONDS = max(turn["end"] for turn in WHOLE["turns"] if turn["end"] < 15) + 0.2
"""Not in the middle of a sentence."""


def test_the_worker_in_parity_mode_writes_and_times_what_whisperx_does() -> None:
    audio = excerpt("lab", recording("conversation.mp3")[0], 0.0, SECONDS)
    exact = models_of(SAMPLES.parent / "models" / "demo" / "model_set.json", parity=True)
    bare = Stock(models()).recognized(audio[:])
    answer = Worker(exact)(audio, {}, diarization=False)
    theirs = [(w["word"], w["start"], w["end"]) for segment in bare for w in segment["words"]]
    ours = [(w["word"], w["start"], w["end"]) for segment in answer["segments"] for w in segment["words"]]
    assert [word for word, *_ in ours] == [word for word, *_ in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one[1:] == pytest.approx(other[1:], abs=0.0015)
    assert len(theirs) > 20
    said = {"words": [w for w in WHOLE["words"] if w["end"] < SECONDS], "turns": WHOLE["turns"]}
    assert score(said, answer).word_error_rate < 0.1
