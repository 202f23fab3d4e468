"""Diarization: the embedding stage on a network of community-1's size with random weights, and clustering of ten hours."""

from __future__ import annotations

import copy
import resource
import time
from typing import Any

import numpy as np
import torch
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.core import SlidingWindow, SlidingWindowFeature
from support.demo import models, sound

from bench.row import Row, in_turns
from bench.shapes import embedding
from scribe.diarization.diarizer import Diarizer
from scribe.diarization.embeddings import in_half, stacked_embeddings

WINDOWS, FRAMES, SPEAKERS = 4, 589, 3
TEN_HOURS = 40_000


def measure() -> list[Row]:
    torch.set_num_threads(1)
    return [*_clustering(), *_embedding()]


def _embedding() -> list[Row]:
    pipeline: Any = Diarizer(models().model_set.diarization.source, "cpu", None, parity=True)._pipeline
    pipeline._embedding.model_ = embedding("cpu")
    audio = sound("bench-diarize", np.random.default_rng(0).standard_normal(16000 * (WINDOWS + 10)) * 0.1)
    file = {"waveform": torch.from_numpy(audio[:]).unsqueeze(0), "sample_rate": 16000}
    ours = stacked_embeddings(pipeline)
    assert ours is not None
    active = (np.random.default_rng(1).random((WINDOWS, FRAMES, SPEAKERS)) < 0.4).astype(float)
    rows = []
    for what, spoken in (("speech in every window", active), ("a quarter of the windows silent", active.copy())):
        if spoken is not active:
            spoken[1] = 0.0
        windows = SlidingWindowFeature(spoken, SlidingWindow(duration=10.0, step=1.0))
        a = SpeakerDiarization.get_embeddings(pipeline, file, windows, True)
        b = ours(file, windows, True)
        times = in_turns(
            lambda w=windows: SpeakerDiarization.get_embeddings(pipeline, file, w, True),
            lambda w=windows: ours(file, w, True),
            repeats=3,
        )
        note = f"largest difference {np.abs(a - b).max():.1g}"
        rows.append(Row(f"embedding stage, ResNet34, {what}", times[1], times[0], 2.9, note=note))
    in_half(halved := copy.deepcopy(pipeline), "cpu")
    quicker = stacked_embeddings(halved)
    assert quicker is not None
    rough = quicker(file, windows, True)
    alike = (b * rough).sum(-1) / np.linalg.norm(b, axis=-1) / np.linalg.norm(rough, axis=-1)
    stock, half = in_turns(
        lambda: SpeakerDiarization.get_embeddings(pipeline, file, windows, True),
        lambda: quicker(file, windows, True),
        repeats=3,
    )
    note = f"off unless DIARIZATION_PRECISION=half; bfloat16 here; least cosine to full precision {alike.min():.4f}"
    rows.append(Row("the same in half precision", half, stock, note=note))
    return rows


def _clustering() -> list[Row]:
    """Forty thousand embeddings of five voices, as ten hours give."""
    pipeline: Any = models().diarizer()._pipeline
    dice = np.random.default_rng(2)
    count, dimension = TEN_HOURS // SPEAKERS, pipeline._embedding.dimension
    voices = dice.standard_normal((5, dimension))
    who = dice.integers(0, 5, (count, SPEAKERS))
    embeddings = (voices[who] + 0.6 * dice.standard_normal((count, SPEAKERS, dimension))).astype(np.float32)
    active = np.zeros((count, 30, SPEAKERS))
    for speaker in range(SPEAKERS):
        active[:, 10 * speaker : 10 * speaker + 10, speaker] = 1.0
    windows = SlidingWindowFeature(active, SlidingWindow(duration=10.0, step=1.0))
    before, began = _peak_gb(), time.perf_counter()
    found, _, _ = pipeline.clustering(
        embeddings, segmentations=windows, min_clusters=1, max_clusters=np.inf, num_clusters=None
    )
    seconds = time.perf_counter() - began
    note = f"{len(np.unique(found[found >= 0]))} speakers found of 5; stock would hold 13 GB (computed)"
    return [
        Row(f"clustering {TEN_HOURS:,} embeddings", (seconds,), target=30.0, note=note),
        Row("memory of that clustering, above what was there", (_peak_gb() - before,), target=2.0, unit="GB"),
    ]


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
