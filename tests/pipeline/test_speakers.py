"""Who counts as a speaker: somebody whose turn lies in speech and to whom a word was given. Noise is nobody."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.material import PAUSE_NOISES, SOUNDS
from support.demo import excerpt, models, predicted, recording, sound, stock_models, truth, voice

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.diarization.assignment import label_by_speaker, with_text
from scribe.diarization.diarizer import AROUND_S, Diarization
from scribe.diarization.linking import layout
from scribe.diarization.reconstruction import mute_outside
from scribe.pipeline.predictor import Predictor
from scribe.transcript import Segment, Span, Turn, Word

ASKED = {"language": "en", "quality": "fast", "diarization": True}
NAMED = {"speaker_verification": True, "speaker_samples": [{"url": "http://h/anna.flac"}]}
NOISE_S = 8.0


@pytest.fixture(scope="module")
def noisy() -> tuple[Audio, dict[str, float]]:
    """Anna and Mark, two sentences each, and between them eight seconds of noise as loud as they are; (it, talk seconds)."""
    whole = recording("conversation.mp3")[0]
    turns, pieces, spoken = truth("conversation")["turns"][:4], [], {}
    for number, (turn, kind) in enumerate(zip(turns, PAUSE_NOISES, strict=True)):
        said = whole.window(turn["start"], turn["end"])
        noise = SOUNDS[kind](round(NOISE_S * SAMPLE_RATE), np.random.default_rng(number))
        pieces += [said, np.zeros(SAMPLE_RATE), noise * said.std() / noise.std(), np.zeros(SAMPLE_RATE)]
        spoken[turn["speaker"]] = spoken.get(turn["speaker"], 0.0) + turn["end"] - turn["start"]
    assert set(spoken) == {"Anna", "Mark"}
    return sound("noise-in-the-pauses", np.concatenate(pieces).clip(-1, 1).astype(np.float32)), spoken


@pytest.mark.parametrize("counts", [{}, {"num_speakers": 2}])
def test_noise_in_the_pauses_is_nobody(noisy: tuple[Audio, dict[str, float]], counts: dict[str, int]) -> None:
    """Also when their number is given: a noise must not take the place of one of them."""
    audio, spoken = noisy
    found = predicted([audio], ASKED | NAMED | counts, [voice("Anna"), voice("Mark")])
    heard = {s.name: s.seconds for s in found.transcript.speakers}
    assert set(heard) == {"Anna", "Mark"}
    for name, seconds in spoken.items():
        assert heard[name] == pytest.approx(seconds, abs=1.5), name


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 6),
    spans=st.lists(st.tuples(st.floats(-5, 30), st.floats(0, 8)), max_size=6),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_outside_of_speech_nobody_is_active(seed: int, count: int, spans: list[tuple[float, float]]) -> None:
    """Spans may touch, overlap and reach beyond the recording."""
    speech = [(start, start + length) for start, length in sorted(spans)]
    before = np.random.default_rng(seed).random((count, 50, 3)).astype(np.float32)
    after = before.copy()
    mute_outside(after, 1.0, 10.0, speech)
    for (window, frame), kept in np.ndenumerate((after == before).all(axis=2)):
        middle = window + (frame + 0.5) * 0.2
        if min((abs(middle - edge) for span in speech for edge in span), default=1.0) > 1e-6:
            assert kept == any(start < middle < end for start, end in speech)
            assert kept or not after[window, frame].any()


def test_in_blocks_too_turns_lie_in_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = excerpt("speech-of-blocks", recording("conversation.mp3")[0], 0.0, 50.0)
    diarize = functools.partial(models().diarizer().diarize, talk)
    monkeypatch.setattr("scribe.diarization.diarizer.LONG_S", 30.0)
    monkeypatch.setattr("scribe.diarization.diarizer.layout", functools.partial(layout, block_s=35.0, overlap_s=20.0))
    everywhere, speech = diarize().turns, [(20.0, 27.0), (40.0, 48.0)]

    def within(turns: Sequence[Turn], spans: Sequence[Span]) -> float:
        return sum(max(0.0, min(t.end, b) - max(t.start, a)) for t in turns for a, b in spans)

    found = diarize(speech=speech).turns
    wide = [(a - AROUND_S - 0.1, b + AROUND_S + 0.1) for a, b in speech]
    assert within(found, wide) == pytest.approx(sum(t.end - t.start for t in found))
    assert within(found, speech) == pytest.approx(within(everywhere, speech), abs=1.0)
    assert diarize(speech=[]).turns == ()


class Overhearing:
    """Stand-in for a diarizer that hears, beside the two of the recording, one more voice: a murmur without a word."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._found = Diarization(tuple(turns), tuple(turns))

    def diarize(self, *_: Any) -> Diarization:
        return self._found


@pytest.fixture
def overheard(monkeypatch: pytest.MonkeyPatch) -> tuple[Audio, list[Turn]]:
    talk = excerpt("overheard", recording("conversation.mp3")[0], 0.0, 15.0)
    said = [t for t in truth("conversation")["turns"] if t["end"] < 15]
    labels = {"Anna": "SPEAKER_01", "Mark": "SPEAKER_02"}
    turns = [Turn(0.0, 0.02, "SPEAKER_00"), *(Turn(t["start"], t["end"], labels[t["speaker"]]) for t in said)]
    assert {t.label for t in turns} == {"SPEAKER_00", "SPEAKER_01", "SPEAKER_02"}
    for which in (models(), stock_models()):
        monkeypatch.setattr(which, "diarizer", lambda: Overhearing(turns))
    return talk, turns


def test_a_label_without_words_is_no_speaker(
    overheard: tuple[Audio, list[Turn]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not listed, not counted and not listened to; the others are numbered without a gap."""
    talk, turns = overheard
    encoder, heard = models().encoder(), []
    real = encoder.voice
    monkeypatch.setattr(
        encoder, "voice", lambda audio, spans, monitor: heard.append(spans) or real(audio, spans, monitor)
    )
    found = predicted([talk], ASKED | {"return_speaker_embeddings": True, "num_speakers": 3})
    listed = {s.label: s.seconds for s in found.transcript.speakers}
    assert set(listed) == {"SPEAKER_00", "SPEAKER_01"} == with_text(found.transcript.segments)
    assert sum(listed.values()) == pytest.approx(sum(t.end - t.start for t in turns[1:]), abs=0.01)
    assert len(heard) == 2
    assert [n.message for n in found.warnings if n.code == "speaker_count"] == [
        "3 speakers were asked for and 2 could be told apart"
    ]


def test_in_parity_every_label_is_listed_as_whisperx_has_it(overheard: tuple[Audio, list[Turn]]) -> None:
    talk, turns = overheard
    found = predicted([talk], ASKED, by=Predictor(stock_models()))
    assert {s.label for s in found.transcript.speakers} == {t.label for t in turns}


def test_text_that_was_not_aligned_makes_a_speaker_too() -> None:
    word = Word("a", 0.0, 1.0, label="SPEAKER_01")
    segments = [Segment(0, 1, "a", (word,), "SPEAKER_00"), Segment(1, 2, "b", label="SPEAKER_02"), Segment(2, 3, "c")]
    assert with_text(segments) == {"SPEAKER_01", "SPEAKER_02"}


def test_where_a_segment_has_no_words_nobody_is_left_out() -> None:
    """It goes as a whole to one speaker, and another may have spoken in it."""
    turns = [Turn(0, 16, "SPEAKER_00"), Turn(16, 30, "SPEAKER_01")]
    whole = [Segment(0, 30, "a long sentence without any end")]
    labelled, kept = label_by_speaker(whole, turns, turns, "en")
    assert with_text(labelled) == {"SPEAKER_00"}
    assert kept == turns
    spoken = [Segment(0, 30, "one", (Word("one", 1, 2),))]
    assert label_by_speaker(spoken, turns, turns, "en")[1] == turns[:1]
