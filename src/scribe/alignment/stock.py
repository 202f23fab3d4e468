"""Alignment by whisperX's own function, for parity: in blocks, since it takes an array and not a recording."""

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

# Audio handed to whisperX in one piece: only a window of the recording should be float32 at once.
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
    """whisperX's aligned segments, as dicts on the recording's clock."""
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
    """(segments, whole second they start after, end): neighbours that together span at most BLOCK_SECONDS.

    A whole second is a whole number of samples, so that shifting by it need change no sample that a segment covers.
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
    """The time on the block's clock, truncated by whisperX to the same sample as on the recording's.

    Subtracting in floating point can fall just below that sample, and one sample less moved a word by 41 ms.
    """
    sample = int(time * SAMPLE_RATE) - shift * SAMPLE_RATE
    moved = time - shift
    return moved if int(moved * SAMPLE_RATE) == sample else (sample + 0.5) / SAMPLE_RATE


def _shifted(item: dict[str, Any], shift: int) -> dict[str, Any]:
    """The item on the recording's clock; a NaN time is no time."""
    times = {
        k: round(item[k] + shift, 3)
        for k in ("start", "end")
        if isinstance(item.get(k), float | int) and math.isfinite(item[k])
    }
    return {k: v for k, v in item.items() if k not in ("start", "end")} | times
