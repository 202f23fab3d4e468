"""Voice activity: whisperX's cut-and-merge, and two detectors that hear speech where there is some."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import models, recording, truth

from scribe.vad import SpeechDetector, merged

pytestmark = pytest.mark.xdist_group("models")


@pytest.fixture(scope="module", autouse=True)
def _libraries() -> None:
    """Loaded before hypothesis looks around."""
    import whisperx.vads  # noqa: F401


@st.composite
def speech(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Stretches in order, apart, in milliseconds that add up exactly enough."""
    clock, found = 0, []
    for _ in range(draw(st.integers(1, 25))):
        start = clock + draw(st.integers(0, 6000))
        clock = start + draw(st.integers(1, 12000))
        found.append((start / 1000, clock / 1000))
    return found


@given(speech(), st.integers(1, 30))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_chunks_are_those_of_whisperx(spans: list[tuple[float, float]], chunk_size: int) -> None:
    from whisperx.diarize import Segment
    from whisperx.vads.vad import Vad

    theirs = Vad.merge_chunks([Segment(s, e) for s, e in spans], chunk_size, 0.5, None)
    ours = merged(spans, chunk_size)
    assert [(c.start, c.end, list(c.speech)) for c in ours] == [(c["start"], c["end"], c["segments"]) for c in theirs]


@given(speech(), st.integers(1, 30))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_speech_is_lost_and_only_a_stretch_by_itself_is_too_long(
    spans: list[tuple[float, float]], chunk_size: int
) -> None:
    chunks = merged(spans, chunk_size)
    assert [span for c in chunks for span in c.speech] == spans
    assert all(c.end - c.start <= chunk_size or len(c.speech) == 1 for c in chunks)


def test_no_speech_makes_no_chunks() -> None:
    assert merged([], 30) == []


@pytest.fixture(params=["silero", "pyannote"])
def detector(request: pytest.FixtureRequest) -> SpeechDetector:
    return models().detector(request.param)


def test_both_detectors_hear_the_speech_of_a_conversation(detector: SpeechDetector) -> None:
    (audio,) = recording("conversation.mp3")
    chunks = detector.chunks(audio, 0.5, 0.363, 15)
    assert all(0 <= c.start < c.end <= audio.seconds and c.end - c.start <= 15.01 for c in chunks)
    assert all(a.end <= b.start for a, b in itertools.pairwise(chunks))
    spoken = {
        round(t * 10)
        for turn in truth("conversation")["turns"]
        for t in (turn["start"], (turn["start"] + turn["end"]) / 2)
    }
    inside = {t for c in chunks for s, e in c.speech for t in range(int(s * 10) - 5, int(e * 10) + 6)}
    assert len(spoken & inside) >= 0.9 * len(spoken)


def test_both_detectors_hear_nothing_in_silence(detector: SpeechDetector) -> None:
    assert detector.chunks(recording("silence.flac")[0], 0.5, 0.363, 15) == []


def test_chunks_are_never_longer_than_asked(detector: SpeechDetector) -> None:
    chunks = detector.chunks(recording("voices/anna.flac")[0], 0.5, 0.363, 3)
    assert len(chunks) >= 3
    assert all(c.end - c.start <= 3.2 for c in chunks)
