"""Memory of a whole job by the length of its recording: one hour and ten of a conversation that repeats.

What grows with length is everything around the networks, and all of that is real here. The networks themselves hold one
batch whatever the length, and would take an hour of CPU for ten hours of speech: their answers are remembered or made up,
in the shapes of whisperX's voice activity model and of community-1 (a window a second, 589 frames, 256 numbers a voice).
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.row import Row

HOURS = (1, 10)
TARGET_MB = 300
JOB = {"language": "en", "vad_method": "pyannote", "align_output": True, "diarization": True, "chunk_size": 15}
VOICES = 4


def measure() -> list[Row]:
    peaks = [_child(hours) for hours in HOURS]
    slope = (peaks[-1] - peaks[0]) / (HOURS[-1] - HOURS[0])
    grown = ", ".join(f"{hours} h {peak:.0f} MB" for hours, peak in zip(HOURS, peaks, strict=True))
    note = f"peaks above a job of one minute: {grown}; the networks' answers made up"
    return [Row("memory a job takes for an hour of its recording", (slope,), target=TARGET_MB, unit="MB", note=note)]


def _child(hours: float) -> float:
    """The peak of a process that runs a job of so many hours, above what it holds after a job of one minute, in MB."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"from bench.parts.memory import grown; print('MB', grown({hours}))"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_ARENA_MAX": "2"},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    found = re.search(r"^MB (\S+)$", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(done.stderr[-2000:])
    return float(found[1])


def grown(hours: float) -> float:
    """In a process of its own. Linux only: its peak of resident memory can be set back there."""
    from support.demo import predicted, recording, scratch

    from scribe.audio.decode import SAMPLE_RATE, Audio

    (talk,) = recording("conversation.mp3")
    minute = np.resize(np.fromfile(talk.path, "<i2"), 60 * SAMPLE_RATE).tobytes()
    path = scratch() / "long.pcm"
    with path.open("wb") as file:
        for _ in range(round(60 * hours)):
            file.write(minute)
    long = Audio(path, path.stat().st_size // 2)
    _answer_quickly(talk)
    predicted([Audio(path, 60 * SAMPLE_RATE)], JOB)
    before = _memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    found = predicted([long], JOB)
    words = sum(len(segment.words) for segment in found.transcript.segments)
    assert words > 3000 * hours, words
    assert len(found.transcript.speakers) > 1, found.warnings
    return _memory_mb("VmHWM") - before


def _memory_mb(what: str) -> float:
    """VmRSS: resident now; VmHWM: its peak."""
    found = re.search(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _answer_quickly(talk: Any) -> None:
    """Put an answer at once in place of every network of the demo models."""
    from support.demo import models
    from support.remembered import Remembered

    engine, detector = models().engine(models().model_set.speech()), models().detector("pyannote")
    engine._model.model = _Recognizer(engine._model.model)
    network = detector._network  # type: ignore[attr-defined]
    detector._network = dataclasses.replace(network, infer=Remembered(network.infer))  # type: ignore[attr-defined]
    aligner: Any = models().aligner("en")
    aligner._model = _by_length(aligner._model)
    _diarize_quickly(models().diarizer())


class _Recognizer:
    """CTranslate2's Whisper that hears the first batch and answers every other with the same."""

    def __init__(self, model: Any) -> None:
        self._model, self._encoded, self._found = model, None, None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, features: Any, **options: Any) -> Any:
        if self._encoded is None:
            self._encoded = self._model.encode(features, **options)
        return self._encoded

    def generate(self, encoded: Any, prompts: list[Any], **options: Any) -> list[Any]:
        if self._found is None:
            self._found = self._model.generate(encoded, prompts, **options)
        return [self._found[number % len(self._found)] for number in range(len(prompts))]


def _by_length(network: Any) -> Callable[[Any], Any]:
    """An aligner that hears the first segment of each length, to a tenth of a second."""
    known: dict[int, Any] = {}

    def logits(waveform: Any) -> Any:
        length = waveform.shape[-1] // 1600
        if length not in known:
            known[length] = network(waveform)
        return known[length]

    return logits


def _diarize_quickly(diarizer: Any) -> None:
    """Give the diarizer networks of community-1's shapes, that see people take turns of three to five seconds."""
    import torch
    from pyannote.audio import Inference

    from bench.shapes import embedding, segmentation
    from scribe.diarization.embeddings import stacked_embeddings

    pipeline = diarizer._pipeline
    dice = np.random.default_rng(0)
    pipeline._segmentation = Inference(
        segmentation("cpu"), duration=10.0, step=1.0, skip_aggregation=True, batch_size=32
    )
    voices = dice.standard_normal((VOICES, 256)).astype(np.float32)
    clock = 0

    def active(windows: Any) -> Any:
        """Three seconds of one, four of the next, three of both together."""
        found = np.zeros((len(windows), 589, 3), np.float32)
        found[:, :177, 0] = found[:, 177:412, 1] = found[:, 412:, :2] = 1.0
        return found

    def voice(waveforms: Any, masks: Any) -> Any:
        nonlocal clock
        who = (clock + np.arange(len(waveforms))[:, None] + np.arange(masks.shape[1])) % VOICES
        clock += len(waveforms)
        noise = dice.standard_normal((*who.shape, 256)).astype(np.float32)
        return torch.from_numpy(voices[who] + 0.3 * noise)

    pipeline._segmentation.infer = active
    pipeline._embedding.model_ = embedding("cpu")
    pipeline._embedding.model_.forward = lambda waveforms, weights=None: voice(waveforms, weights)
    pipeline.get_embeddings = stacked_embeddings(pipeline)
    plda = pipeline.clustering.plda
    pipeline.clustering.plda = _Shortened(plda, plda.phi.shape[0])


class _Shortened:
    """The demo set's PLDA, which takes fewer numbers than community-1's voices have."""

    def __init__(self, plda: Any, size: int) -> None:
        self._plda, self._size, self.phi = plda, size, plda.phi

    def __call__(self, embeddings: Any) -> Any:
        return self._plda(embeddings[:, : self._size])
