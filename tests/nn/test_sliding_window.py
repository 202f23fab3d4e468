"""Windows read from the disk a batch at a time: what pyannote's own loop gives over the recording in one tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bench.shapes import segmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from support.demo import recording

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.nn.sliding_window import (
    Excerpt,
    Network,
    Waveform,
    grid_seconds,
    network_of,
    overlap_add,
    suits,
    window_count,
    window_scores,
)


@pytest.fixture(scope="module")
def inference() -> Any:
    """Community-1's segmentation with random weights, a batch of three windows."""
    import torch
    from pyannote.audio import Inference

    torch.manual_seed(0)
    return Inference(segmentation("cpu"), duration=10.0, step=1.0, skip_aggregation=True, batch_size=3)


@pytest.mark.parametrize("samples", [1, 4 * SAMPLE_RATE, 10 * SAMPLE_RATE, 13 * SAMPLE_RATE, 14 * SAMPLE_RATE + 7])
def test_the_scores_are_pyannotes_to_the_last_bit(inference: Any, samples: int) -> None:
    import torch

    audio = Audio(recording("conversation.mp3")[0].path, samples)
    seen: list[tuple[int, int]] = []
    found, cut = window_scores(network_of(inference), audio, lambda done, total: seen.append((done, total)))
    theirs = inference({"waveform": torch.from_numpy(audio[:]).unsqueeze(0), "sample_rate": SAMPLE_RATE})
    assert found.shape == theirs.data.shape
    assert found.tobytes() == theirs.data.tobytes()
    assert window_count(network_of(inference), samples) == (len(found), cut)
    assert seen[0] == (0, len(found))
    assert seen[-1] == (len(found), len(found))


def test_an_excerpt_on_the_grid_has_the_windows_of_the_whole(inference: Any) -> None:
    """Its first window is the recording's 28th; the frames, 270 samples each, lie where they lay."""
    assert grid_seconds(network_of(inference)) == 27.0
    talk = recording("conversation.mp3")[0]
    excerpt = Excerpt(talk, 27 * SAMPLE_RATE, 39 * SAMPLE_RATE)
    assert len(excerpt) == 12 * SAMPLE_RATE
    assert (excerpt[100:300] == talk[27 * SAMPLE_RATE + 100 : 27 * SAMPLE_RATE + 300]).all()
    assert len(excerpt[11 * SAMPLE_RATE : 20 * SAMPLE_RATE]) == SAMPLE_RATE
    found, _ = window_scores(network_of(inference), excerpt, lambda *_: None)
    alone, _ = window_scores(network_of(inference), Excerpt(talk, 28 * SAMPLE_RATE, 38 * SAMPLE_RATE), lambda *_: None)
    np.testing.assert_allclose(found[1], alone[0], atol=1e-5)


def test_a_waveform_is_cropped_as_a_tensor_is(inference: Any) -> None:
    import torch
    from pyannote.core import Segment

    talk = recording("conversation.mp3")[0]
    file = {"waveform": torch.from_numpy(talk[:]).unsqueeze(0), "sample_rate": SAMPLE_RATE}
    for start, end in ((3.1, 8.7), (talk.seconds - 2, talk.seconds + 8), (0.0, 1.0)):
        crops = [
            inference.model.audio.crop({**file, "waveform": wave}, Segment(start, end), mode="pad")[0]
            for wave in (Waveform(talk), file["waveform"])
        ]
        assert torch.equal(*crops)


def test_a_network_of_another_rate_keeps_pyannotes_own_way(inference: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert suits(inference)
    monkeypatch.setattr(inference.model.audio, "sample_rate", 8000)
    assert not suits(inference)


@given(
    windows=st.integers(1, 60),
    frames=st.integers(2, 40),
    step=st.sampled_from([0.1, 0.25, 0.5, 1.0]),
    cut=st.one_of(st.none(), st.floats(0.0, 1.0)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_windows_are_added_up_as_by_pyannote_to_the_last_bit(
    windows: int, frames: int, step: float, cut: float | None, seed: int
) -> None:
    from pyannote.audio import Inference
    from pyannote.core import Segment, SlidingWindow, SlidingWindowFeature

    scores = np.random.default_rng(seed).random((windows, frames), np.float32)
    duration = frames * 270 / SAMPLE_RATE + 0.07
    network = Network(lambda heard: heard, duration, step * duration, 991 / SAMPLE_RATE, 270 / SAMPLE_RATE)
    seconds = None if cut is None else duration + (windows - 1 - cut) * network.step
    theirs = Inference.aggregate(
        SlidingWindowFeature(scores[:, :, None].copy(), SlidingWindow(duration, network.step, 0.0)),
        SlidingWindow(network.frame, network.frame_step),
        hamming=True,
        missing=0.0,
    )
    if seconds is not None:
        theirs.data = theirs.crop(Segment(0.0, seconds), mode="loose")
    ours = overlap_add(scores, network, seconds)
    assert ours.shape == theirs.data[:, 0].shape
    assert ours.tobytes() == theirs.data[:, 0].tobytes()
