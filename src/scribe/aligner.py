"""Forced alignment: text -> words with times, by whisperX's public functions on a wav2vec2 model of one language."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .audio import SAMPLE_RATE, Audio
from .transcript import Segment, Word, words_with_times

# Audio handed to whisperX in one piece: it takes an array, and only a window of the recording should be float32 at once.
BLOCK_SECONDS = 600


class Aligner:
    """`source` is a folder, a name, or None for whisperX's choice for the language.

    Raises ValueError for a language that whisperX has no model for, and what transformers raises when loading fails.
    """

    def __init__(
        self, language: str, source: str | None, device: str, nltk_data: Path, local_only: bool = False
    ) -> None:
        import nltk
        from whisperx.alignment import load_align_model

        # whisperX downloads punkt in the middle of a job where it finds none.
        if str(nltk_data) not in nltk.data.path:
            nltk.data.path.insert(0, str(nltk_data))
        self._device = device
        # Its loader prints the exception; the exception's chain says the same.
        with contextlib.redirect_stdout(None):
            self._model, self._metadata = load_align_model(
                language, device, model_name=source, model_cache_only=local_only
            )

    def align(
        self,
        segments: Sequence[Segment],
        audio: Audio,
        interpolate_method: str,
        characters: bool,
        tick: Callable[[float | None], None],
    ) -> list[Segment]:
        """Segments by sentence, each with words that all have a start and an end. A segment that cannot be aligned stays as it was.

        `interpolate_method`: nearest, linear or ignore, whisperX's own ways to fill a word inside a segment.
        """
        from whisperx.alignment import align

        aligned: list[Segment] = []
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
                self._model,
                self._metadata,
                audio[start * SAMPLE_RATE : min(math.ceil(end * SAMPLE_RATE), len(audio))],
                self._device,
                interpolate_method=interpolate_method,
                return_char_alignments=characters,
                progress_callback=lambda percent: tick(None),
            )
            aligned.extend(_segment(s, start, characters) for s in found["segments"])
            tick(min(1.0, block[-1].end / max(segments[-1].end, 1e-9)))
        return aligned


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


def _segment(found: dict[str, Any], shift: int, characters: bool) -> Segment:
    start, end = found["start"] + shift, found["end"] + shift
    words = [_shifted(w, shift) for w in found["words"]]
    chars = [_shifted(c, shift) for c in found.get("chars") or ()]
    timed = words_with_times(words, start, end)
    letters = _letters(timed, chars) if characters else [()] * len(timed)
    return Segment(
        round(start, 3),
        round(end, 3),
        found["text"],
        tuple(
            Word(
                w["word"],
                w["start"],
                w["end"],
                _score(w.get("score")),
                interpolated=w.get("interpolated", False),
                chars=c,
            )
            for w, c in zip(timed, letters, strict=True)
        ),
        avg_logprob=found.get("avg_logprob"),
    )


def _shifted(item: dict[str, Any], shift: int) -> dict[str, Any]:
    """The item on the recording's clock; a NaN time is no time."""
    times = {
        k: round(item[k] + shift, 3)
        for k in ("start", "end")
        if isinstance(item.get(k), float | int) and math.isfinite(item[k])
    }
    return {k: v for k, v in item.items() if k not in ("start", "end")} | times


def _score(value: Any) -> float | None:
    return round(float(value), 3) if value is not None and math.isfinite(value) else None


def _letters(words: Sequence[dict[str, Any]], chars: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], ...]]:
    """Deal the segment's characters out to its words, in order; the blanks between words belong to none."""
    inked = iter([c for c in chars if c["char"].strip()])
    return [tuple(c for _, c in zip(w["word"].replace(" ", ""), inked, strict=False)) for w in words]
