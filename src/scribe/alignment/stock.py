"""Align by whisperX's own function, for parity, in blocks, because it needs an array and not an Audio."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from scribe.alignment.text import Sentence
from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.runtime.monitor import Monitor
from scribe.transcript import Segment

if TYPE_CHECKING:
    import torch

# Seconds passed to whisperX at once, so that only a part of the recording is in memory as float32.
BLOCK_SECONDS = 600


def stock_align(
    segments: Sequence[Segment],
    model: torch.nn.Module,
    metadata: dict[str, Any],
    audio: Audio,
    device: str,
    method: str,
    characters: bool,
    monitor: Monitor,
) -> Iterator[Sentence]:
    """Yield whisperX's aligned segments as dicts, in recording time."""
    from whisperx.alignment import align

    for block, start, end in _blocks(segments):
        found = align(
            [
                {
                    "start": _shifted_time(s.start, start),
                    "end": _shifted_time(s.end, start),
                    "text": s.text,
                    "avg_logprob": s.avg_logprob,
                }
                for s in block
            ],
            model,
            metadata,
            audio[start * SAMPLE_RATE : min(math.ceil(end * SAMPLE_RATE), len(audio))],
            device,
            interpolate_method=method,
            return_char_alignments=characters,
            progress_callback=lambda percent: monitor.raise_if_stopped(),
        )
        for segment in found["segments"]:
            moved = {"start": segment["start"] + start, "end": segment["end"] + start}
            words = [_shifted(w, start) for w in segment["words"]]
            yield segment | moved | {"words": words, "chars": [_shifted(c, start) for c in segment.get("chars") or ()]}
        monitor.progress(min(1.0, block[-1].end / max(segments[-1].end, 1e-9)))


def _blocks(segments: Sequence[Segment]) -> Iterator[tuple[list[Segment], int, float]]:
    """Yield (segments, whole second before their start, end), spanning at most BLOCK_SECONDS.

    A whole second is a whole number of samples, so that shifting by it does not change the samples of a segment.
    """
    block: list[Segment] = []
    for segment in segments:
        if block and segment.end - block[0].start > BLOCK_SECONDS:
            yield block, int(block[0].start), block[-1].end
            block = []
        block.append(segment)
    if block:
        yield block, int(block[0].start), max(s.end for s in block)


def _shifted_time(time: float, shift: int) -> float:
    """Convert to block time, so that whisperX truncates it to the same sample as in recording time.

    A floating-point difference can be just below that sample, and one sample less moved a word by 41 ms.
    """
    sample = int(time * SAMPLE_RATE) - shift * SAMPLE_RATE
    moved = time - shift
    return moved if int(moved * SAMPLE_RATE) == sample else (sample + 0.5) / SAMPLE_RATE


def _shifted(item: dict[str, Any], shift: int) -> dict[str, Any]:
    """Convert the item's times to recording time, and remove NaN times."""
    times = {
        k: round(item[k] + shift, 3)
        for k in ("start", "end")
        if isinstance(item.get(k), float | int) and math.isfinite(item[k])
    }
    return {k: v for k, v in item.items() if k not in ("start", "end")} | times
