"""Run a pyannote network over a whole recording, reading one batch of windows at a time from disk.

pyannote needs the recording as one float32 tensor, 230 MB an hour, and copies its results twice. Here only one batch is
float32 at a time; the windows, the batches and so the results equal pyannote's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scribe.audio.decode import SAMPLE_RATE, Audio, Samples
from scribe.runtime.cores import by_core

if TYPE_CHECKING:
    import torch
    from pyannote.audio import Inference

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The samples `start` to `stop` of a recording, usable like an Audio."""

    audio: Audio
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, window: slice) -> Samples:
        """Return the window's samples as float32, counted from the excerpt's start."""
        start, stop, _ = window.indices(len(self))
        return self.audio[self.start + start : self.start + stop]


class Waveform:
    """A stand-in for a (channel, sample) tensor, with what pyannote's `Audio.crop` uses: its shape, and slices."""

    def __init__(self, audio: Audio | Excerpt) -> None:
        self.audio = audio
        self.shape = (1, len(audio))

    @property
    def T(self) -> Audio | Excerpt:  # noqa: N802 (a tensor's attribute; pyannote's telemetry, if enabled, takes its length)
        return self.audio

    def __getitem__(self, key: tuple[slice, slice]) -> torch.Tensor:
        """Return the window as a (1, samples) torch.float32 tensor."""
        import torch

        return torch.from_numpy(self.audio[key[1]]).unsqueeze(0)


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is run on windows of a recording.

    `infer`: (windows, 1, samples) torch.float32 -> (windows, frames, classes) float32. In seconds: `duration` of a window,
    `step` from one to the next, `frame` the receptive field of a frame, `frame_step` from one frame to the next.
    """

    infer: Callable[[torch.Tensor], Scores]
    duration: float
    step: float
    frame: float
    frame_step: float
    batch: int = 32

    @property
    def size(self) -> int:
        """The samples of a window."""
        return round(self.duration * SAMPLE_RATE)

    @property
    def hop(self) -> int:
        """The samples from one window to the next."""
        return round(self.step * SAMPLE_RATE)


def suits(inference: Inference) -> bool:
    """Return whether the network can be run here: sliding windows, and at 16 kHz, so that nothing is resampled."""
    return bool(inference.window == "sliding" and inference.model.audio.sample_rate == SAMPLE_RATE)


def network_of(inference: Inference) -> Network:
    """Return the network of a pyannote `Inference` that `suits`, with its windows and batches."""
    field = inference.model.receptive_field

    def infer(windows: torch.Tensor) -> Scores:
        try:
            found: Scores = inference.infer(windows)
        except MemoryError as error:
            # pyannote raises a MemoryError instead of CUDA's "out of memory", which is needed to halve the batch.
            raise error.__context__ or error from None
        return found

    return Network(
        by_core(infer, inference.device.type),
        inference.duration,
        inference.step,
        field.duration,
        field.step,
        inference.batch_size,
    )


def window_scores(
    network: Network,
    audio: Audio | Excerpt,
    hook: Callable[[int, int], None],
    each: Callable[[Scores], Scores] = lambda s: s,
) -> tuple[Scores, bool]:
    """Return ((windows, frames, classes) float32, whether the last window extends beyond the recording).

    Equal, to the last bit, to those of `Inference.slide` of pyannote.audio 4.0 before it aggregates. `each` is applied to
    every batch; `hook(completed, total)` is called before the first and after every batch and may raise to stop.
    """
    total, cut = window_count(network, len(audio))
    hook(0, total)
    found: Scores | None = None
    for first, windows in _batches(network, audio, total, cut):
        scores = each(network.infer(windows))
        if found is None:
            found = np.empty((total, *scores.shape[1:]), scores.dtype)
        found[first : first + len(scores)] = scores
        hook(first + len(scores), total)
    assert found is not None
    return found, cut


def overlap_add(windows: Scores, network: Network, seconds: float | None = None) -> Scores:
    """Average overlapping windows with Hamming weights: (windows, frames) float32 -> (frames,) float32.

    `seconds`: the recording's length, given if the last window extends beyond it. Equal to `Inference.aggregate` of
    pyannote.audio 4.0, with sums in the same order and precision.
    """
    count, frames = windows.shape
    taper = np.hamming(frames)

    def first_frame(start: float) -> int:
        return round((start + 0.5 * network.frame - 0.5 * network.frame) / network.frame_step)

    total = first_frame(network.duration + (count - 1) * network.step) + 1
    found, weight = np.zeros((2, total), np.float32)
    for number, scores in enumerate(windows):
        start = first_frame(number * network.step)
        found[start : start + frames] += scores * taper
        weight[start : start + frames] += taper
    found /= np.maximum(weight, np.float32(1e-12))
    return found if seconds is None else found[: math.floor(seconds / network.frame_step) + 1]


def window_count(network: Network, samples: int) -> tuple[int, bool]:
    """Return (the number of windows, whether the last one extends beyond the recording)."""
    size, hop = network.size, network.hop
    whole = max(0, (samples - size) // hop + 1)
    cut = samples < size or (samples - size) % hop > 0
    return whole + cut, cut


def grid_seconds(network: Network) -> float:
    """Return the least shift in seconds that maps windows to windows and frames to frames."""
    return math.lcm(network.hop, round(network.frame_step * SAMPLE_RATE)) / SAMPLE_RATE


def _batches(network: Network, audio: Audio | Excerpt, total: int, cut: bool) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield (number of the first window, (windows, 1, samples) tensor). A cut window is a batch of its own, as in
    pyannote, because another batch shape can round differently."""
    import torch

    size, step = network.size, network.hop
    whole, batch = total - cut, network.batch
    for first in range(0, whole, batch):
        count = min(batch, whole - first)
        samples = torch.from_numpy(audio[first * step : (first + count - 1) * step + size])
        yield first, samples.unfold(0, size, step).unsqueeze(1)
    if cut:
        rest = torch.from_numpy(audio[whole * step :])
        yield whole, torch.nn.functional.pad(rest, (0, size - len(rest)))[None, None]
