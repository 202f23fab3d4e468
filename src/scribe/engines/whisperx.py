"""WhisperX's own batched pipeline, for parity: its options are set for one job and always restored.

Doubtful text is neither marked nor decoded again.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from scribe.engines.base import Abilities, SpeechOptions, TranscriptionRequest
from scribe.engines.faster_whisper import WhisperEngine, require_tokenizer
from scribe.runtime.log import quiet_prints
from scribe.runtime.monitor import Monitor
from scribe.transcript import Chunk, Segment

if TYPE_CHECKING:
    from whisperx.vads import Vad


class WhisperXEngine(WhisperEngine):
    """WhisperX's pipeline as an engine. `source` is a folder or a name; `compute_type` is CTranslate2's."""

    @property
    def abilities(self) -> Abilities:
        """The model's abilities, without the options that whisperX's batched decoding ignores."""
        acting = _TRANSCRIPTION_OPTIONS | {"task", "batch_size", "suppress_numerals"}
        return dataclasses.replace(
            super().abilities, engine="whisperX's batched decoding", options=acting, doubts=False
        )

    def __init__(self, source: str, device: str, compute_type: str, threads: int, local_only: bool = False) -> None:
        from whisperx.asr import load_model

        require_tokenizer(source)
        # whisperX prints a line about its VAD; stdout belongs to the program that runs the worker.
        quiet_prints("whisperx.asr")
        self._pipeline = load_model(
            source,
            device,
            compute_type=compute_type,
            vad_model=_given_chunks(),
            threads=threads,
            local_files_only=local_only,
        )
        super().__init__(self._pipeline.model, device)

    def _recognized(self, request: TranscriptionRequest, batch: int, monitor: Monitor) -> list[Segment]:
        with self._configured(request.options, request.chunks):
            result = self._pipeline.transcribe(
                request.audio,  # whisperX slices it: only one chunk is in memory as float32
                batch_size=batch,
                language=request.language,
                task=request.options.task,
                progress_callback=lambda percent: monitor.progress(percent / 100),
            )
        return [
            Segment(s["start"], s["end"], s["text"].strip(), avg_logprob=s.get("avg_logprob"))
            for s in result["segments"]
            if s["text"].strip()
        ]

    @contextlib.contextmanager
    def _configured(self, options: SpeechOptions, chunks: Sequence[Chunk]) -> Iterator[None]:
        """Set the pipeline's options and chunks for one job and always restore them.

        whisperX restores its tokenizer and options only on success, so the language, prompt and suppressed numerals of a
        job that raised would apply to the next one.
        """
        pipeline = self._pipeline
        before = pipeline.options
        pipeline.options = dataclasses.replace(
            before,
            **{name: value for name, value in dataclasses.asdict(options).items() if name in _TRANSCRIPTION_OPTIONS},
        )
        pipeline.suppress_numerals = options.suppress_numerals
        pipeline.vad_model.chunks = chunks
        try:
            yield
        finally:
            pipeline.options = before
            pipeline.suppress_numerals = False
            pipeline.tokenizer = None
            pipeline.vad_model.chunks = ()


_TRANSCRIPTION_OPTIONS = frozenset(
    "beam_size patience length_penalty repetition_penalty no_repeat_ngram_size initial_prompt hotwords".split()
)


def _given_chunks() -> Vad:
    """Return a whisperX `Vad` that returns the given chunks, because speech was detected before (vad/detectors.py)."""
    from whisperx.vads import Vad

    class GivenChunks(Vad):  # type: ignore[misc]  # whisperX has no types
        def __init__(self) -> None:
            super().__init__(vad_onset=0.5)
            self.chunks: Sequence[Chunk] = ()

        def __call__(self, audio: object, **options: object) -> list[dict[str, Any]]:
            return [{"start": c.start, "end": c.end, "segments": list(c.speech)} for c in self.chunks]

        @staticmethod
        def preprocess_audio(audio: object) -> object:
            return audio

        @staticmethod
        def merge_chunks(
            found: list[dict[str, Any]], chunk_size: float, onset: float, offset: float | None
        ) -> list[dict[str, Any]]:
            return found

    return GivenChunks()
