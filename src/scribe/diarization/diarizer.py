"""Diarize with pyannote's pipeline, called directly.

whisperX's wrapper returns only the overlapping turns; the *exclusive* ones, meant for assigning words, come from the
pipeline itself.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.diarization.embeddings import (
    bounded_training,
    in_half,
    limit_to_voices,
    shared_among_cores,
    stacked_embeddings,
)
from scribe.diarization.linking import Block, joined, layout, linked
from scribe.diarization.reconstruction import mute_outside, reconstruct
from scribe.nn.sliding_window import Excerpt, Scores, Waveform, grid_seconds, network_of, suits, window_scores
from scribe.runtime.machine import largest_batch, spare_gpu_memory
from scribe.runtime.monitor import UNWATCHED, Monitor
from scribe.runtime.out_of_memory import Clear, Parts, fitted, nothing
from scribe.transcript import Span, Turn

if TYPE_CHECKING:
    from pyannote.audio.pipelines.speaker_diarization import DiarizeOutput
    from pyannote.core import Annotation, SlidingWindowFeature

log = logging.getLogger(__name__)

BATCHES = ("segmentation_batch_size", "embedding_batch_size")
# Peak bytes of a 10 s window in each network (measured at 10 and 54 MB, plus a half), and the batch sizes beyond which
# there is no gain.
WINDOW_BYTES, MOST_WINDOWS = (16_000_000, 80_000_000), (256, 128)
# pyannote reports the progress of its two long steps separately; these are their parts of the stage.
STEPS = {"segmentation": (0.0, 0.4), "embeddings": (0.4, 1.0)}
# pyannote stores speaker numbers in a signed byte.
MOST_SPEAKERS = 127
# Seconds beyond which a recording is diarized in blocks.
LONG_S = 2 * 3600.0
# Seconds around detected speech that still count as speech, because the detector's edges are not more exact. More adds
# noise (measured with noise in the pauses: 0.25 s doubled the error).
AROUND_S = 0.1


@dataclass(frozen=True, slots=True)
class Diarization:
    """The turns of a recording: `turns` may overlap; `exclusive` never do."""

    turns: tuple[Turn, ...] = ()
    exclusive: tuple[Turn, ...] = ()


class Diarizer:
    """A loaded pyannote pipeline. Loading raises what pyannote and the hub raise.

    `source` is a folder or a repository. `parity` leaves the pipeline unchanged: slower, and without a memory bound.
    `half`: run the embedding network in 16 bits, except in parity mode.
    """

    def __init__(self, source: str, device: str, token: str | None, parity: bool = False, half: bool = False) -> None:
        import torch
        from pyannote.audio import Pipeline

        pipeline = Pipeline.from_pretrained(source, token=token)
        if pipeline is None:
            raise FileNotFoundError(source)
        self._pipeline = pipeline.to(torch.device(device))
        self._device = device
        self._parts = Parts()
        # (waveform, scores of its windows), kept in case a later step is out of memory and the pipeline runs again.
        self._scored: tuple[Waveform, Scores] | None = None
        self._parity = parity or not suits(pipeline._segmentation)
        if not self._parity:
            self._pipeline.get_segmentations = self._segmentations
            self._pipeline.reconstruct = reconstruct
            self._pipeline.get_embeddings = (
                stacked_embeddings(self._pipeline, self._run) or self._pipeline.get_embeddings
            )
            self._pipeline.clustering.filter_embeddings = bounded_training(self._pipeline.clustering)
            limit_to_voices(self._pipeline.clustering)
            shared_among_cores(self._pipeline, device)
            if half:
                in_half(self._pipeline, device)

    def diarize(
        self,
        audio: Audio,
        monitor: Monitor = UNWATCHED,
        num_speakers: int | None = None,
        min_speakers: int | None = None,
        max_speakers: int | None = None,
        speech: Sequence[Span] | None = None,
        clear: Clear = nothing,
    ) -> Diarization:
        """Return the turns of the whole recording, in seconds. `monitor` may stop it after every batch.

        `speech`: spans from a voice activity detector, in order; outside of them (and AROUND_S) there are no turns, and no
        embeddings are computed. None, and parity mode: everywhere.

        A batch that is out of GPU memory is retried as in `fitted`, without repeating finished batches.
        """
        self._parts = Parts(clear)
        if self._parity or audio.seconds <= LONG_S:
            places = [(0.0, audio.seconds)]
            limits = {"num_speakers": num_speakers, "min_speakers": min_speakers, "max_speakers": max_speakers}
        else:
            places = layout(audio.seconds, grid_seconds(network_of(self._pipeline._segmentation)))
            limits = {"max_speakers": num_speakers or max_speakers}
        if not self._parity and not limits.get("num_speakers"):
            limits["max_speakers"] = limits["max_speakers"] or MOST_SPEAKERS
        blocks = []
        with self._fitting_batches():
            for number, (start, end) in enumerate(places):
                blocks.append(self._block(audio, start, end, limits, speech, monitor.part(number, len(places)), clear))
        if len(blocks) == 1:
            return Diarization(blocks[0].turns, blocks[0].exclusive)
        names = linked(blocks, num_speakers or min_speakers or 1, num_speakers or max_speakers)
        return Diarization(*joined(blocks, names))

    def _block(
        self,
        audio: Audio,
        start: float,
        end: float,
        limits: dict[str, int | None],
        speech: Sequence[Span] | None,
        monitor: Monitor,
        clear: Clear,
    ) -> Block:
        import torch

        def hook(
            step: str, artefact: object, file: object = None, total: int | None = None, completed: int | None = None
        ) -> None:
            if total and step in STEPS:
                low, high = STEPS[step]
                monitor.progress(low + (high - low) * min(1.0, (completed or 0) / total))
            else:
                monitor.raise_if_stopped()

        excerpt = Excerpt(audio, round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))
        waveform = torch.from_numpy(excerpt[:]).unsqueeze(0) if self._parity else Waveform(excerpt)
        file: dict[str, object] = {"waveform": waveform, "sample_rate": SAMPLE_RATE}
        if speech is not None:
            file["speech"] = [(a - start - AROUND_S, b - start + AROUND_S) for a, b in speech]
        before = [getattr(self._pipeline, name) for name in BATCHES]

        def run(size: int) -> DiarizeOutput:
            # In parity mode, and for other networks than those run here, only pyannote's batch sizes can be reduced.
            for name, most in zip(BATCHES, before, strict=True):
                setattr(self._pipeline, name, max(1, most * size // max(before)))
            return self._pipeline(dict(file), hook=hook, **limits)

        try:
            found, _ = fitted(run, max(before), clear)
        except ValueError as error:
            # For a recording without speakers pyannote 4.0 counts -1 clusters and fails to allocate an array for them.
            if "negative dimensions" in str(error):
                return Block(start, end, (), (), {})
            raise
        finally:
            self._scored = None
        return Block(
            start,
            end,
            _turns(found.speaker_diarization, start, end),
            _turns(found.exclusive_speaker_diarization, start, end),
            dict(zip(found.speaker_diarization.labels(), found.speaker_embeddings, strict=False)),
        )

    def _run(self, count: int, run: Callable[[slice], Scores]) -> Scores:
        """Run a network on a batch, in as few parts as fit into memory."""
        return self._parts(count, run)

    def _segmentations(self, file: Mapping[str, Any], hook: Callable[..., None]) -> SlidingWindowFeature:
        """Replace pyannote's `get_segmentations`: read windows on demand, and mute scores outside of `speech`."""
        from pyannote.core import SlidingWindow, SlidingWindowFeature

        inference = self._pipeline._segmentation
        network = network_of(inference)
        waveform: Waveform = file["waveform"]
        if self._scored is None or self._scored[0] is not waveform:
            windows, _ = window_scores(
                replace(network, infer=lambda batch: self._run(len(batch), lambda of: network.infer(batch[of]))),
                waveform.audio,
                lambda done, total: hook("segmentation", None, completed=done, total=total),
            )
            if (speech := file.get("speech")) is not None:
                mute_outside(windows, inference.step, inference.duration, speech)
            self._scored = waveform, windows
        places = SlidingWindow(start=0.0, duration=inference.duration, step=inference.step)
        return SlidingWindowFeature(self._scored[1], places)

    @contextlib.contextmanager
    def _fitting_batches(self) -> Iterator[None]:
        """Set batch sizes that fit the free GPU memory, and restore the pipeline's own afterwards."""
        before = [getattr(self._pipeline, name) for name in BATCHES]
        try:
            if self._device == "cuda" and not self._parity:
                for name, size in zip(BATCHES, comfortable_batches(spare_gpu_memory(), before), strict=True):
                    setattr(self._pipeline, name, size)
            yield
        finally:
            for name, size in zip(BATCHES, before, strict=True):
                setattr(self._pipeline, name, size)


def comfortable_batches(free_bytes: int, before: Sequence[int]) -> list[int]:
    """Return the networks' batch sizes, powers of two, for half of this much GPU memory; `before` if it is unknown (0)."""
    if not free_bytes:
        return list(before)
    return [largest_batch(free_bytes // 2, *of) for of in zip(WINDOW_BYTES, MOST_WINDOWS, strict=True)]


def _turns(annotation: Annotation, start: float, end: float) -> tuple[Turn, ...]:
    """Convert to turns in recording time, in order, cut at the block's end, which the last window exceeds."""
    return tuple(
        Turn(round(max(start, start + s.start), 3), round(min(end, start + s.end), 3), label)
        for s, _, label in annotation.itertracks(yield_label=True)
        if start + s.start < end
    )
