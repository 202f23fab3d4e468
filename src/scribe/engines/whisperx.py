"""WhisperX's batched pipeline: loaded once, options set for one job and always restored."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..audio import SAMPLE_RATE, Audio
from ..errors import GpuOutOfMemory
from ..gpu_fault import gpu_failure
from ..shelf import release_memory
from ..transcript import Chunk, Segment
from . import SpeechOptions

log = logging.getLogger(__name__)
Tick = Callable[[float | None], None]

# Handed to whisperX in one call, which gives nothing back before it is over: what a stop can lose.
GROUP_BATCHES = 4
GROUP_CHUNKS = 128


class WhisperXEngine:
    """`source` is a folder or a name; `device` cpu or cuda; `compute_type` CTranslate2's."""

    def __init__(self, source: str, device: str, compute_type: str, threads: int, local_only: bool = False) -> None:
        from whisperx.asr import load_model

        # whisperX prints about the VAD it was given; stdout belongs to whoever runs the worker.
        with contextlib.redirect_stdout(None):
            self._pipeline = load_model(
                source,
                device,
                compute_type=compute_type,
                vad_model=_given_chunks(),
                threads=threads,
                local_files_only=local_only,
            )

    @property
    def multilingual(self) -> bool:
        return bool(self._pipeline.model.model.is_multilingual)

    def fitted(self, options: SpeechOptions) -> SpeechOptions:
        """Whisper's window holds 448 tokens, prompt and text together; faster-whisper cuts the prompt and the hotwords to
        half of it each, and the two together then fail, or leave no room to write. They share one half here."""
        tokenizer, most = self._pipeline.model.hf_tokenizer, self._pipeline.model.max_length // 2 - 1
        before, words = (
            tokenizer.encode(" " + (text or "").strip(), add_special_tokens=False).ids if text else []
            for text in (options.initial_prompt, options.hotwords)
        )
        if len(before) + len(words) <= most:
            return options
        # The start of the hotwords and the end of the prompt, which stands next to the speech.
        kept = words[: max(most - len(before), most // 2)]
        return dataclasses.replace(
            options,
            hotwords=tokenizer.decode(kept).strip() or None,
            initial_prompt=tokenizer.decode(before[-(most - len(kept)) :]).strip() or None,
        )

    def detect_language(
        self, audio: Audio, chunks: Sequence[Chunk], max_tries: int, min_prob: float, tick: Tick
    ) -> tuple[str, float | None]:
        """Listen to chunks of speech, not to the file's first 30 s, which may be music; stop at `min_prob` when it is given."""
        model = self._pipeline.model
        if not self.multilingual:
            return "en", None
        heard: list[dict[str, float]] = []
        for chunk in chunks[:max_tries]:
            tick(None)
            found = model.model.detect_language(model.encode(self._features(audio, chunk)))[0]
            heard.append({token[2:-2]: probability for token, probability in found})
            language, probability = vote(heard)
            if min_prob and probability >= min_prob:
                break
        language, probability = vote(heard)
        return language, round(probability, 4)

    def transcribe(
        self,
        audio: Audio,
        chunks: Sequence[Chunk],
        language: str,
        options: SpeechOptions,
        emit: Callable[[Segment], None],
        tick: Tick,
        give_way: Callable[[], bool] = lambda: False,
    ) -> int:
        """Works through groups of chunks, so that a stop keeps what is done. Halves the batch when it does not fit.

        Raises GpuOutOfMemory when one chunk does not.
        """
        batch, done = options.batch_size, 0
        most = min(GROUP_CHUNKS, GROUP_BATCHES * batch)
        while done < len(chunks):
            group = chunks[done : done + most]
            try:
                found = self._run(audio, group, language, options, batch, _within(tick, done, len(group), len(chunks)))
            except RuntimeError as error:
                if not isinstance(gpu_failure(error), GpuOutOfMemory):
                    raise
                found = None
            if found is None:
                release_memory()
                if give_way():
                    continue
                if batch == 1:
                    raise GpuOutOfMemory("the speech model does not fit into the GPU's memory beside a single chunk")
                batch //= 2
                log.warning("out of GPU memory: trying again with batches of %d", batch)
                continue
            for segment in found:
                emit(segment)
            done += len(group)
        return batch

    def _run(
        self,
        audio: Audio,
        chunks: Sequence[Chunk],
        language: str,
        options: SpeechOptions,
        batch: int,
        tick: Callable[[float], None],
    ) -> list[Segment]:
        with self._configured(options, chunks):
            result = self._pipeline.transcribe(
                audio,  # type: ignore[arg-type]  # sliced by whisperX, so that only one chunk is in memory as float32
                batch_size=batch,
                language=language,
                task=options.task,
                progress_callback=lambda percent: tick(percent / 100),
            )
        return [
            Segment(s["start"], s["end"], s["text"].strip(), avg_logprob=s.get("avg_logprob"))
            for s in result["segments"]
            if s["text"].strip()
        ]

    @contextlib.contextmanager
    def _configured(self, options: SpeechOptions, chunks: Sequence[Chunk]) -> Iterator[None]:
        """whisperX keeps tokenizer and options as state and restores them only on success: a job that raised would hand
        its language, its prompt and its suppressed numerals to the next."""
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

    def _features(self, audio: Audio, chunk: Chunk) -> Any:
        from whisperx.audio import N_SAMPLES, log_mel_spectrogram

        window = audio[int(chunk.start * SAMPLE_RATE) : int(chunk.end * SAMPLE_RATE)][:N_SAMPLES]
        bins = self._pipeline.model.feat_kwargs.get("feature_size") or 80
        return log_mel_spectrogram(window, n_mels=bins, padding=N_SAMPLES - len(window))


def _within(tick: Tick, done: int, group: int, total: int) -> Callable[[float], None]:
    """A tick for the group of `group` chunks that begins after `done` of `total`."""
    return lambda part: tick((done + part * group) / total)


_TRANSCRIPTION_OPTIONS = frozenset(
    "beam_size patience length_penalty repetition_penalty no_repeat_ngram_size initial_prompt hotwords".split()
)


def vote(heard: Sequence[dict[str, float]]) -> tuple[str, float]:
    """The language of the highest mean probability over the windows listened to. ("en", 0.0) for none."""
    total: dict[str, float] = defaultdict(float)
    for window in heard:
        for language, probability in window.items():
            total[language] += probability / len(heard)
    if not total:
        return "en", 0.0
    language = max(total, key=total.__getitem__)
    return language, total[language]


def _given_chunks() -> Any:
    """A whisperX `Vad` that returns the chunks it was handed: detection is vad.py's work and happened before."""
    from whisperx.vads import Vad

    class GivenChunks(Vad):
        def __init__(self) -> None:
            super().__init__(vad_onset=0.5)
            self.chunks: Sequence[Chunk] = ()

        def __call__(self, audio: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
            return [{"start": c.start, "end": c.end, "segments": list(c.speech)} for c in self.chunks]

        @staticmethod
        def preprocess_audio(audio: Any) -> Any:
            return audio

        @staticmethod
        def merge_chunks(
            found: list[dict[str, Any]], chunk_size: float, onset: float, offset: float | None
        ) -> list[dict[str, Any]]:
            return found

    return GivenChunks()
