"""Voice activity: where somebody speaks, cut into chunks that the recognizer takes in one piece.

Two detectors, both without a download: pyannote (the weights inside whisperX's wheel, or VAD_MODEL_PATH) and silero
(the ONNX inside faster-whisper's wheel; whisperX's own silero fetches code from GitHub at run time).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .audio import SAMPLE_RATE, Audio
from .transcript import Chunk, Span


class SpeechDetector(Protocol):
    """Finds speech in a whole recording."""

    def chunks(self, audio: Audio, onset: float, offset: float, chunk_size: float) -> list[Chunk]:
        """`onset` and `offset`: probabilities at which speech begins and ends, 0 to 1; `chunk_size` in seconds."""


class SileroDetector:
    """Silero's network by ONNX on the CPU; `offset` is its threshold for the end of speech."""

    def chunks(self, audio: Audio, onset: float, offset: float, chunk_size: float) -> list[Chunk]:
        from faster_whisper.vad import VadOptions, get_speech_timestamps

        options = VadOptions(threshold=onset, neg_threshold=min(offset, onset), max_speech_duration_s=chunk_size)
        found = get_speech_timestamps(audio[:], options)
        return merged([(f["start"] / SAMPLE_RATE, f["end"] / SAMPLE_RATE) for f in found], chunk_size)


class PyannoteDetector:
    """pyannote's segmentation as whisperX runs it, its scores binarized with hysteresis and cut at the quietest frame."""

    def __init__(self, device: str, weights: Path | None = None) -> None:
        from whisperx.vads.pyannote import load_vad_model

        self._pipeline = load_vad_model(device, model_fp=str(weights) if weights else None)

    def chunks(self, audio: Audio, onset: float, offset: float, chunk_size: float) -> list[Chunk]:
        import torch
        from whisperx.vads.pyannote import Binarize

        waveform = torch.from_numpy(audio[:]).unsqueeze(0)
        scores = self._pipeline({"waveform": waveform, "sample_rate": SAMPLE_RATE})
        active = Binarize(max_duration=chunk_size, onset=onset, offset=offset)(scores).get_timeline()
        return merged([(s.start, min(s.end, audio.seconds)) for s in active], chunk_size)


def merged(speech: Sequence[Span], chunk_size: float) -> list[Chunk]:
    """Join neighbouring stretches into chunks of at most `chunk_size` seconds from first start to last end.

    The cut-and-merge of WhisperX (Bain et al., Interspeech 2023). A stretch that is longer by itself stays whole:
    the detectors have cut before.
    """
    chunks: list[list[Span]] = []
    for span in speech:
        if chunks and span[1] - chunks[-1][0][0] <= chunk_size:
            chunks[-1].append(span)
        else:
            chunks.append([span])
    return [Chunk(c[0][0], c[-1][1], tuple(c)) for c in chunks]
