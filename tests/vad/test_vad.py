"""Voice activity: whisperX's cut-and-merge, and two detectors that hear speech where there is some."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.demo import configured, excerpt, models, recording, truth

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.errors import Cancelled
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.runtime.monitor import UNWATCHED, Monitor
from scribe.vad.binarize import speech_spans
from scribe.vad.detectors import PyannoteDetector, SpeechDetector, merged, speech_probabilities, stretches


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


@given(speech(), st.integers(1, 30), st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_chunk_holds_a_pause_longer_than_what_is_allowed(
    spans: list[tuple[float, float]], chunk_size: int, pause_s: float
) -> None:
    chunks = merged(spans, chunk_size, pause_s)
    assert [span for c in chunks for span in c.speech] == spans
    assert all(b[0] - a[1] <= pause_s for c in chunks for a, b in zip(c.speech, c.speech[1:], strict=False))
    # And no cut that neither the pause nor the length asks for.
    for a, b in zip(chunks, chunks[1:], strict=False):
        assert b.start - a.end > pause_s or b.speech[0][1] - a.start > chunk_size


def test_no_speech_makes_no_chunks() -> None:
    assert merged([], 30) == []


@pytest.fixture(params=["silero", "pyannote"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def detector(method: str) -> SpeechDetector:
    return models().detector(method)


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


def test_both_detectors_hear_nothing_in_an_empty_recording(detector: SpeechDetector) -> None:
    assert detector.chunks(Audio(recording("silence.flac")[0].path, 0), 0.5, 0.363, 15) == []


def test_both_detectors_hear_nothing_in_silence(detector: SpeechDetector) -> None:
    assert detector.chunks(recording("silence.flac")[0], 0.5, 0.363, 15) == []


def test_chunks_are_never_longer_than_asked(detector: SpeechDetector) -> None:
    chunks = detector.chunks(recording("voices/anna.flac")[0], 0.5, 0.363, 3)
    assert len(chunks) >= 3
    assert all(c.end - c.start <= 3.2 for c in chunks)


@st.composite
def probabilities(draw: st.DrawFn) -> np.ndarray:
    """Runs of loud, doubtful and quiet windows, long enough to reach every limit."""
    runs = draw(st.lists(st.tuples(st.sampled_from([0.05, 0.4, 0.5, 0.9]), st.integers(1, 120)), max_size=12))
    return np.array([p for value, count in runs for p in [value] * count] or [0.0], np.float32)


@given(probabilities(), st.integers(0, 511), st.sampled_from([(0.5, 0.363), (0.5, 0.5), (0.4, 0.1)]), st.integers(1, 9))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_stretches_are_those_of_faster_whisper(
    heard: np.ndarray, rest: int, limits: tuple[float, float], longest: int
) -> None:
    from faster_whisper import vad

    samples = (len(heard) - 1) * 512 + rest
    options = vad.VadOptions(threshold=limits[0], neg_threshold=limits[1], max_speech_duration_s=longest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vad, "get_vad_model", lambda: lambda audio: heard)
        theirs = vad.get_speech_timestamps(np.zeros(samples, np.float32), options)
    assert stretches(heard, samples, *limits, longest) == [(f["start"], f["end"]) for f in theirs]


@pytest.mark.parametrize("samples", [1, 512, 700, 512 * 20, 512 * 20 + 460])
def test_silero_hears_the_same_in_blocks_as_in_one_piece(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all lengths: blocks of three windows, against one call by faster-whisper."""
    from faster_whisper.vad import get_vad_model

    talk = recording("conversation.mp3")[0]
    audio = Audio(talk.path, samples)
    padded = np.pad(audio[:], (0, 512 - samples % 512))
    whole = get_vad_model()(padded).reshape(-1)
    assert speech_probabilities(audio).tobytes() == whole.tobytes()
    monkeypatch.setattr("scribe.vad.detectors.BLOCK_WINDOWS", 3)
    np.testing.assert_allclose(speech_probabilities(audio), whole, atol=1e-6)


@functools.cache
def stock() -> Models:
    return Models(ModelSet(configured()), "cpu", parity=True)


@pytest.mark.parametrize("seconds", [0.5, 5.0, 20.5, 61.3])
def test_chunks_read_in_blocks_are_those_of_one_piece(method: str, seconds: float) -> None:
    audio = excerpt(f"blocks-{seconds}", recording("conversation.mp3")[0], 3.0, 3.0 + seconds)
    found = [m.detector(method).chunks(audio, 0.5, 0.363, 10) for m in (models(), stock())]
    assert found[0] == found[1]


@pytest.mark.parametrize("samples", [1, SAMPLE_RATE, 5 * SAMPLE_RATE, 507 * SAMPLE_RATE // 16])
def test_pyannotes_scores_are_its_own_to_the_last_bit(samples: int) -> None:
    import torch

    detector, own = models().detector("pyannote"), stock().detector("pyannote")
    assert isinstance(detector, PyannoteDetector)
    assert isinstance(own, PyannoteDetector)
    assert detector._network is not None
    audio = Audio(recording("conversation.mp3")[0].path, samples)
    ours = detector._scores(detector._network, audio, UNWATCHED)
    theirs = own._pipeline({"waveform": torch.from_numpy(audio[:]).unsqueeze(0), "sample_rate": SAMPLE_RATE})
    assert ours.tobytes() == theirs.data[:, 0].tobytes()


@st.composite
def frame_scores(draw: st.DrawFn) -> np.ndarray:
    """Runs of frames at few levels, so that they meet the thresholds and each other; some with noise."""
    levels = st.sampled_from([0.1, 0.363, 0.4, 0.5, 0.51, 0.9])
    runs = draw(st.lists(st.tuples(levels, st.integers(1, 150)), min_size=1, max_size=10))
    scores = np.concatenate([np.full(count, value, np.float32) for value, count in runs])
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(0, 0.05, len(scores))
    return scores if draw(st.booleans()) else np.clip(scores + noise, 0, 1).astype(np.float32)


@given(frame_scores(), st.sampled_from([(0.5, 0.363), (0.5, 0.5), (0.4, 0.9)]), st.sampled_from([0.1, 0.5, 1, 3]))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_spans_are_those_of_whisperx(scores: np.ndarray, limits: tuple[float, float], longest: float) -> None:
    from pyannote.core import SlidingWindow, SlidingWindowFeature
    from whisperx.vads.pyannote import Binarize

    frame, step = 991 / SAMPLE_RATE, 270 / SAMPLE_RATE
    feature = SlidingWindowFeature(scores[:, None], SlidingWindow(frame, step))
    theirs = Binarize(max_duration=longest, onset=limits[0], offset=limits[1])(feature).get_timeline()
    ours = speech_spans(scores, frame, step, *limits, longest)
    assert ours == [(segment.start, segment.end) for segment in theirs]


def test_a_stop_comes_between_two_blocks(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scribe.vad.detectors.BLOCK_WINDOWS", 500)
    seen: list[float] = []

    def stop(done: float) -> None:
        seen.append(done)
        if done:
            raise Cancelled("x")

    with pytest.raises(Cancelled):
        models().detector(method).chunks(recording("conversation.mp3")[0], 0.5, 0.363, 15, Monitor(report=stop))
    assert 0 < seen[-1] < 0.5
