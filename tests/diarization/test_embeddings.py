"""Embeddings by the window, not by the speaker: pyannote's own numbers, and a clustering that long recordings cannot fill."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bench.shapes import embedding
from hypothesis import given, settings
from hypothesis import strategies as st
from support.demo import excerpt, models, recording

from scribe.diarization.diarizer import Diarization, Diarizer
from scribe.diarization.embeddings import bounded_training, in_half, speaker_masks, stacked_embeddings


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """The demo pipeline with an embedding network of community-1's kind, of random weights."""
    import torch

    torch.manual_seed(0)
    found = Diarizer(models().model_set.diarization.source, "cpu", None, parity=True)._pipeline
    found._embedding.model_ = embedding("cpu")
    return found


def windows(active: np.ndarray) -> Any:
    from pyannote.core import SlidingWindow, SlidingWindowFeature

    return SlidingWindowFeature(active, SlidingWindow(duration=2.0, step=1.0))


@pytest.mark.parametrize("exclude_overlap", [False, True])
def test_a_window_s_speakers_get_the_embeddings_that_pyannote_gives_them(pipeline: Any, exclude_overlap: bool) -> None:
    """Windows with overlap, with too little speech alone, beyond the end, and with nobody at all."""
    import torch
    from pyannote.audio.pipelines import SpeakerDiarization

    clip = excerpt("embeddings", recording("conversation.mp3")[0], 0.0, 6.0)
    dice = np.random.default_rng(1)
    active = (dice.random((7, 117, 3)) < 0.5).astype(float)
    active[1, :, 2], active[2], active[4], active[6, 60:] = 0, 0, 0, np.nan
    active[5, 3:, 0] = 0
    file = {"waveform": torch.from_numpy(clip[:]).unsqueeze(0), "sample_rate": 16000}
    seen: list[tuple[int, int]] = []
    ours = stacked_embeddings(pipeline)
    assert ours is not None
    found = ours(file, windows(active), exclude_overlap, lambda *_, total, completed: seen.append((completed, total)))
    stock = SpeakerDiarization.get_embeddings(pipeline, file, windows(active), exclude_overlap)
    assert found.shape == stock.shape == (7, 3, 256)
    np.testing.assert_allclose(found, stock, atol=1e-5, rtol=1e-4)
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1]


def test_in_half_precision_a_resnet_gives_nearly_the_same_embeddings(pipeline: Any) -> None:
    import torch

    network = pipeline._embedding.model_
    waveforms = torch.from_numpy(excerpt("embeddings", recording("conversation.mp3")[0], 0.0, 4.0)[:])[None, None]
    rough = SimpleNamespace(_embedding=SimpleNamespace(model_=copy.deepcopy(network)))
    in_half(rough, "cpu")
    with torch.inference_mode():
        full, half = network(waveforms), rough._embedding.model_(waveforms)
    assert half.dtype == torch.float32
    assert 0.999 < torch.nn.functional.cosine_similarity(full, half).item() < 1.0


def test_a_network_that_cannot_take_several_masks_keeps_pyannotes_way() -> None:
    assert stacked_embeddings(models().diarizer()._pipeline) is None


@given(seed=st.integers(0, 10**6), frames=st.integers(1, 30), shortest=st.none() | st.floats(0, 1))
@settings(deadline=None)
def test_masks_leave_overlap_out_where_enough_speech_remains(seed: int, frames: int, shortest: float | None) -> None:
    active = (np.random.default_rng(seed).random((3, frames, 2)) < 0.6).astype(float)
    masks = speaker_masks(active, shortest)
    for window in range(3):
        for speaker in range(2):
            whole = active[window, :, speaker]
            clean = whole * (active[window].sum(axis=1) < 2)
            enough = shortest is not None and clean.sum() > np.ceil(frames * shortest)
            assert masks[window, speaker].tolist() == (clean if enough else whole).tolist()


class Chosen:
    """In place of pyannote's clustering: gives so many embeddings to cluster."""

    def __init__(self, count: int) -> None:
        self.count = count

    def filter_embeddings(self, *_: Any, **__: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        numbers = np.arange(self.count)
        return numbers[:, None].astype(float), numbers, numbers % 3


def test_few_embeddings_are_all_clustered_and_of_many_an_even_choice() -> None:
    assert len(bounded_training(Chosen(100), most=100)()[0]) == 100
    embeddings, chosen, speakers = bounded_training(Chosen(1000), most=100)()
    assert len(embeddings) == 100
    assert (chosen[0], chosen[-1]) == (0, 999)
    assert set(np.diff(chosen)) <= {10, 11}
    assert (embeddings[:, 0] == chosen).all()
    assert (speakers == chosen % 3).all()


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> Diarizer:
    """The demo diarizer, clustering a third of what it hears."""
    diarizer = models().diarizer()
    monkeypatch.setattr(
        diarizer._pipeline.clustering, "filter_embeddings", bounded_training(diarizer._pipeline.clustering, most=25)
    )
    return diarizer


def test_clustering_a_part_of_them_finds_the_same_speakers(bounded: Diarizer, monkeypatch: pytest.MonkeyPatch) -> None:
    (talk,) = recording("conversation.mp3")
    few = bounded.diarize(talk)
    monkeypatch.undo()
    all_of_them = models().diarizer().diarize(talk)
    assert by_appearance(few) == by_appearance(all_of_them)


def by_appearance(found: Diarization) -> list[tuple[float, float, int]]:
    """The exclusive turns, their speakers numbered in the order in which they first speak."""
    order = list(dict.fromkeys(t.label for t in found.exclusive))
    return [(t.start, t.end, order.index(t.label)) for t in found.exclusive]


def test_parity_leaves_the_pipeline_as_it_comes_and_finds_the_same_turns() -> None:
    place = models().model_set.diarization
    stock = Diarizer(place.source, "cpu", None, parity=True)
    assert not {"get_embeddings", "filter_embeddings"} & {*vars(stock._pipeline), *vars(stock._pipeline.clustering)}
    clip = excerpt("parity-turns", recording("conversation.mp3")[0], 0.0, 25.0)
    assert stock.diarize(clip) == models().diarizer().diarize(clip)


def test_more_speakers_than_a_byte_counts_are_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    diarizer = copy.copy(models().diarizer())

    class Pipeline(SimpleNamespace):
        def __call__(self, file: Any, **options: Any) -> Any:
            asked.append((options["num_speakers"], options["max_speakers"]))
            raise ValueError("negative dimensions are not allowed")

    diarizer._pipeline = Pipeline(segmentation_batch_size=1, embedding_batch_size=1)
    clip = excerpt("byte", recording("conversation.mp3")[0], 0.0, 1.0)
    for options in ({}, {"max_speakers": 3}, {"num_speakers": 2}):
        diarizer.diarize(clip, **options)
    assert asked == [(None, 127), (None, 3), (2, None)]
