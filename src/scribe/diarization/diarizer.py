"""Who speaks when: pyannote's pipeline, called directly.

whisperX's wrapper keeps only the overlapping turns; the *exclusive* ones, made to be laid over a transcript, come from
the pipeline itself.
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
from scribe.diarization.reconstruction import hush, reconstruct
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
# What a window of 10 s takes in each network at its widest (measured at 10 and 54 MB, and a half more), and the most windows
# of which more gain nothing.
WINDOW_BYTES, MOST_WINDOWS = (16_000_000, 80_000_000), (256, 128)
# pyannote counts each of its two long steps from zero; together they are the stage.
STEPS = {"segmentation": (0.0, 0.4), "embeddings": (0.4, 1.0)}
# pyannote numbers its speakers in a signed byte, and from 128 on a number would be below zero.
MOST_SPEAKERS = 127
# Seconds beyond which a recording is diarized in blocks.
LONG_S = 2 * 3600.0
# Seconds before and behind what the voice detector found that still count as speech. Its edges are no more exact; but each
# tenth of a second is also one of the noise before and behind (measured on pauses full of noise: 0.25 s doubled the error).
AROUND_S = 0.1


@dataclass(frozen=True, slots=True)
class Diarization:
    """`turns` may overlap; `exclusive` never do."""

    turns: tuple[Turn, ...] = ()
    exclusive: tuple[Turn, ...] = ()


class Diarizer:
    """`source` is a folder or a repository; raises what pyannote and the hub raise when it cannot be loaded.

    `parity` leaves the pipeline as it comes: slower, and without a bound on its memory. `half`: the network of the voices in
    16 bits, outside parity.
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
        # (waveform, its windows' scores): a later step may not fit, and the pipeline then runs again.
        self._heard: tuple[Waveform, Scores] | None = None
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
        """Turns of the whole recording, in seconds. `monitor` may stop it after every batch.

        `speech`: where a voice activity detector heard any, in order; outside of it (and AROUND_S) nobody has a turn, and
        nothing counts as a voice. None, and parity: everywhere.

        A batch that does not fit into the GPU's memory is done again as `fitted` has it, and no finished one with it.
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
            # In parity, and in a pipeline whose networks are not run here, only pyannote's own batches can be made smaller.
            for name, most in zip(BATCHES, before, strict=True):
                setattr(self._pipeline, name, max(1, most * size // max(before)))
            return self._pipeline(dict(file), hook=hook, **limits)

        try:
            found, _ = fitted(run, max(before), clear)
        except ValueError as error:
            # pyannote 4.0 counts the clusters of a recording without speakers as -1 and allocates so many.
            if "negative dimensions" in str(error):
                return Block(start, end, (), (), {})
            raise
        finally:
            self._heard = None
        return Block(
            start,
            end,
            _turns(found.speaker_diarization, start, end),
            _turns(found.exclusive_speaker_diarization, start, end),
            dict(zip(found.speaker_diarization.labels(), found.speaker_embeddings, strict=False)),
        )

    def _run(self, count: int, run: Callable[[slice], Scores]) -> Scores:
        """A network on a batch, in as few parts as fit into this run's memory."""
        return self._parts(count, run)

    def _segmentations(self, file: Mapping[str, Any], hook: Callable[..., None]) -> SlidingWindowFeature:
        """pyannote's own, its windows read as they are wanted, and without what is heard outside of `speech`."""
        from pyannote.core import SlidingWindow, SlidingWindowFeature

        inference = self._pipeline._segmentation
        network = network_of(inference)
        waveform: Waveform = file["waveform"]
        if self._heard is None or self._heard[0] is not waveform:
            windows, _ = window_scores(
                replace(network, infer=lambda batch: self._run(len(batch), lambda of: network.infer(batch[of]))),
                waveform.audio,
                lambda done, total: hook("segmentation", None, completed=done, total=total),
            )
            if (speech := file.get("speech")) is not None:
                hush(windows, inference.step, inference.duration, speech)
            self._heard = waveform, windows
        places = SlidingWindow(start=0.0, duration=inference.duration, step=inference.step)
        return SlidingWindowFeature(self._heard[1], places)

    @contextlib.contextmanager
    def _fitting_batches(self) -> Iterator[None]:
        """Batches for the GPU's memory as it is now; afterwards the pipeline's own again."""
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
    """Windows at once in each network for half of that much GPU memory, powers of two; `before` where it is not known."""
    if not free_bytes:
        return list(before)
    return [largest_batch(free_bytes // 2, *of) for of in zip(WINDOW_BYTES, MOST_WINDOWS, strict=True)]


def _turns(annotation: Annotation, start: float, end: float) -> tuple[Turn, ...]:
    """On the recording's clock, in time order, cut at the block's end: the last analysis window reaches beyond it."""
    return tuple(
        Turn(round(max(start, start + s.start), 3), round(min(end, start + s.end), 3), label)
        for s, _, label in annotation.itertracks(yield_label=True)
        if start + s.start < end
    )
