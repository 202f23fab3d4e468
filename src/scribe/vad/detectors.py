"""Detect voice activity and cut it into chunks that the recognizer decodes as one piece.

Two detectors, both without a download: pyannote (the weights inside whisperX's wheel, or VAD_MODEL_PATH) and silero
(the ONNX inside faster-whisper's wheel; whisperX's own silero downloads code from GitHub at run time). Both read the
recording in blocks, with the same result as in one piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.nn import pyannet
from scribe.nn.sliding_window import Network, Scores, network_of, overlap_add, suits, window_scores
from scribe.runtime.monitor import UNWATCHED, Monitor
from scribe.transcript import Chunk, Span
from scribe.vad.binarize import speech_spans

WINDOW = 512  # samples for each score of silero
CONTEXT = 64  # samples before them that silero gets too
BLOCK_WINDOWS = 10_000  # 320 s a call, as in faster-whisper: another number may round differently
PAUSE = 2 * SAMPLE_RATE  # samples of silence that end a span of speech
BREATH = round(0.098 * SAMPLE_RATE)  # samples of silence in which a span that is too long may be cut
PAD = round(0.4 * SAMPLE_RATE)  # samples added on both sides of a span


class SpeechDetector(Protocol):
    """Detects the speech in a whole recording."""

    def chunks(
        self, audio: Audio, onset: float, offset: float, chunk_size: float, monitor: Monitor = UNWATCHED
    ) -> list[Chunk]:
        """Return the chunks of speech, at most `chunk_size` seconds long each.

        `onset` and `offset`: probabilities, 0 to 1, at which speech begins and ends. `monitor` gets the fraction done
        after every block, and may stop.
        """


class SileroDetector:
    """Silero's network, run by ONNX on the CPU.

    `pause_s`: a longer pause ends a chunk. `parity`: faster-whisper's own function, over the whole recording at once.
    """

    def __init__(self, pause_s: float = math.inf, parity: bool = False) -> None:
        self._pause_s = pause_s
        self._parity = parity

    def chunks(
        self, audio: Audio, onset: float, offset: float, chunk_size: float, monitor: Monitor = UNWATCHED
    ) -> list[Chunk]:
        offset = min(offset, onset)
        if self._parity:
            from faster_whisper.vad import VadOptions, get_speech_timestamps

            options = VadOptions(threshold=onset, neg_threshold=offset, max_speech_duration_s=chunk_size)
            found = [(f["start"], f["end"]) for f in get_speech_timestamps(audio[:], options)]
        else:
            found = stretches(speech_probabilities(audio, monitor), len(audio), onset, offset, chunk_size)
        return merged([(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in found], chunk_size, self._pause_s)


class PyannoteDetector:
    """pyannote's segmentation network as whisperX runs it, with its scores binarized by hysteresis.

    `pause_s`: a longer pause ends a chunk. `parity`: whisperX's own pipeline, over the whole recording at once. Weights of
    another architecture than whisperX's are loaded and run by pyannote; `before_imports` is called before its import.
    """

    def __init__(
        self,
        device: str,
        weights: Path | None = None,
        pause_s: float = math.inf,
        parity: bool = False,
        before_imports: Callable[[], None] = lambda: None,
    ) -> None:
        self._pause_s = pause_s
        self._network = None if parity else pyannet.load(weights or pyannet.packaged(), device)
        if self._network is None:
            before_imports()
            from whisperx.vads.pyannote import load_vad_model

            self._pipeline = load_vad_model(device, model_fp=str(weights) if weights else None)
            inference = self._pipeline._segmentation
            if not parity and suits(inference) and inference.warm_up == (0.0, 0.0):
                self._network = network_of(inference)

    def chunks(
        self, audio: Audio, onset: float, offset: float, chunk_size: float, monitor: Monitor = UNWATCHED
    ) -> list[Chunk]:
        if self._network is None:
            speech = self._stock_spans(audio, onset, offset, chunk_size)
        else:
            network = self._network
            scores = self._scores(network, audio, monitor)
            speech = speech_spans(scores, network.frame, network.frame_step, onset, offset, chunk_size)
        return merged([(start, min(end, audio.seconds)) for start, end in speech], chunk_size, self._pause_s)

    def _stock_spans(self, audio: Audio, onset: float, offset: float, chunk_size: float) -> list[Span]:
        import torch
        from whisperx.vads.pyannote import Binarize

        scores = self._pipeline({"waveform": torch.from_numpy(audio[:]).unsqueeze(0), "sample_rate": SAMPLE_RATE})
        active = Binarize(max_duration=chunk_size, onset=onset, offset=offset)(scores).get_timeline()
        return [(segment.start, segment.end) for segment in active]

    def _scores(self, network: Network, audio: Audio, monitor: Monitor) -> Scores:
        """Return a score for every frame, equal to the pipeline's. The scores of all windows take 8 MB for an hour."""
        windows, cut = window_scores(
            network, audio, lambda done, total: monitor.progress(done / total), lambda scores: scores.max(axis=-1)
        )
        return overlap_add(windows, network, audio.seconds if cut else None)


def speech_probabilities(audio: Audio, monitor: Monitor = UNWATCHED) -> Scores:
    """Return silero's probability of speech for every window of 512 samples, float32, equal to faster-whisper 1.2's.

    The network's state and the last samples are passed from block to block. As in faster-whisper, at least one sample of
    silence is added at the end, and the last 64 samples are set to silence.
    """
    from faster_whisper.vad import get_vad_model

    session = get_vad_model().session
    count = len(audio) // WINDOW + 1
    context: Scores = np.zeros((1, CONTEXT), np.float32)
    state = {"h": np.zeros((1, 1, 128), np.float32), "c": np.zeros((1, 1, 128), np.float32)}
    found = np.empty(count, np.float32)
    for first in range(0, count, BLOCK_WINDOWS):
        last = min(first + BLOCK_WINDOWS, count)
        samples = audio[first * WINDOW : last * WINDOW]
        windows = np.pad(samples, (0, (last - first) * WINDOW - len(samples))).reshape(-1, WINDOW)
        if last == count:
            windows[-1, -CONTEXT:] = 0
        before = np.concatenate([context, windows[:-1, -CONTEXT:]])
        context = windows[-1:, -CONTEXT:]
        scores, state["h"], state["c"] = session.run(None, {"input": np.concatenate([before, windows], 1), **state})
        found[first:last] = scores.reshape(-1)
        monitor.progress(last / count)
    return found


def stretches(
    probabilities: Scores, samples: int, onset: float, offset: float, longest_s: float
) -> list[tuple[int, int]]:
    """Return spans of speech as (first sample, end), padded, by silero's rule as in faster-whisper 1.2.

    A span begins at a probability of `onset` and ends when two seconds stay below `offset`. A span longer than `longest_s`
    seconds is cut at its last short silence (BREATH), else at once.
    """
    voiced, silent = (probabilities >= onset).tolist(), (probabilities < offset).tolist()
    longest = longest_s * SAMPLE_RATE - WINDOW - 2 * PAD
    found: list[list[int]] = []
    start: int | None = None
    # Samples at which the current silence began, the last short silence began, and speech resumed after it; 0 for none.
    quiet = breath = resumed = 0
    for number, (is_voiced, is_silent) in enumerate(zip(voiced, silent, strict=True)):
        now = number * WINDOW
        if is_voiced:
            if quiet and resumed < breath:
                resumed = now
            quiet = 0
            if start is None:
                start = now
                continue
        if start is None:
            continue
        if now - start > longest:
            found.append([start, breath or now])
            start = resumed if breath and resumed >= breath else None
            quiet = breath = resumed = 0
            if start is None:
                continue
        if is_silent:
            quiet = quiet or now
            if now - quiet > BREATH:
                breath = quiet
            if now - quiet >= PAUSE:
                found.append([start, quiet])
                start = None
                quiet = breath = resumed = 0
    if start is not None and start < samples:
        found.append([start, samples])
    return _padded(found, samples)


def _padded(found: list[list[int]], samples: int) -> list[tuple[int, int]]:
    """Extend each span by PAD on both sides; two that are near share the silence between them."""
    for number, one in enumerate(found):
        if number == 0:
            one[0] = max(0, one[0] - PAD)
        if number == len(found) - 1:
            one[1] = min(samples, one[1] + PAD)
            continue
        following = found[number + 1]
        between = following[0] - one[1]
        given = between // 2 if between < 2 * PAD else PAD
        one[1] = min(samples, one[1] + given)
        following[0] = max(0, following[0] - given)
    return [(start, end) for start, end in found]


def merged(speech: Sequence[Span], chunk_size: float, pause_s: float = math.inf) -> list[Chunk]:
    """Merge neighbouring spans into chunks of at most `chunk_size` seconds from first start to last end.

    This is the merge of WhisperX (Bain et al., Interspeech 2023), except that a pause longer than `pause_s` ends a chunk:
    after a long pause Whisper often drops the speech, or fills the pause with invented words. A single span longer than
    `chunk_size` stays whole.
    """
    chunks: list[list[Span]] = []
    for span in speech:
        if chunks and span[1] - chunks[-1][0][0] <= chunk_size and span[0] - chunks[-1][-1][1] <= pause_s:
            chunks[-1].append(span)
        else:
            chunks.append([span])
    return [Chunk(c[0][0], c[-1][1], tuple(c)) for c in chunks]
