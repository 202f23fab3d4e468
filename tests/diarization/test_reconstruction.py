"""Windows' speakers to the recording's: pyannote's own answer, without its arrays."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.demo import models

from scribe.diarization.reconstruction import reconstruct


@pytest.fixture(scope="module")
def stock() -> Any:
    """pyannote's class; loaded before hypothesis looks around."""
    from pyannote.audio.pipelines import SpeakerDiarization

    return SpeakerDiarization


def talk(seed: int, windows: int, speakers: int, hard: bool) -> tuple[Any, np.ndarray, Any]:
    """(activity of `windows` 2-s windows, whom of the recording each of their three speakers is, speakers a frame)."""
    from pyannote.audio.pipelines import SpeakerDiarization
    from pyannote.core import SlidingWindow, SlidingWindowFeature

    dice = np.random.default_rng(seed)
    active = dice.random((windows, 30, 3))
    active = (active < 0.4).astype(np.float32) if hard else active.astype(np.float32)
    places = SlidingWindow(duration=2.0, step=0.4)
    clusters = dice.integers(-1, speakers, (windows, 3)).astype(np.int8)
    clusters[clusters == -1] = -2
    clusters[0, 0] = speakers - 1
    spoken = SlidingWindowFeature((active > 0.6).astype(np.float32), places)
    count = SpeakerDiarization.speaker_count(
        spoken, SlidingWindow(duration=0.1, step=0.067, start=0.0), warm_up=(0.0, 0.0)
    )
    return SlidingWindowFeature(active, places), clusters, count


@given(seed=st.integers(0, 10**6), windows=st.integers(1, 12), speakers=st.integers(1, 5), hard=st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_the_recording_s_speakers_are_pyannotes(stock: Any, seed: int, windows: int, speakers: int, hard: bool) -> None:
    """Also where more speak at once than were told apart, and where a window's two speakers are one person."""
    activity, clusters, count = talk(seed, windows, speakers, hard)
    ours = reconstruct(activity, clusters, count)
    theirs = stock.reconstruct(models().diarizer()._pipeline, activity, clusters, count)
    assert ours.data.tobytes() == theirs.data.tobytes()
    assert (ours.sliding_window.start, ours.sliding_window.step) == (
        theirs.sliding_window.start,
        theirs.sliding_window.step,
    )


def test_its_memory_does_not_grow_with_windows_times_speakers() -> None:
    activity, clusters, count = talk(0, 2000, 40, True)
    tracemalloc.start()
    try:
        reconstruct(activity, clusters, count)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Ten times the frames of the recording's 40 speakers; pyannote's array alone is 19 MB.
    assert peak < 10 * len(count.data) * 40 * 4 < 2000 * 30 * 40 * 8
