"""Decode Whisper in batches with CTranslate2 alone, as WhisperX does, without importing torch or transformers.

Text that fails the checks of Whisper's own sequential decoding (hallucination.py) is decoded again.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.engines.base import SpeechOptions, TranscriptionRequest
from scribe.engines.decoding_passes import (
    BEST_OF,
    HALVINGS,
    DecodingPass,
    Judge,
    Text,
    halves,
    limit,
    passes,
    worth_repeating,
)
from scribe.engines.faster_whisper import Features, WhisperEngine, require_tokenizer
from scribe.engines.hallucination import Decoded, Limits
from scribe.errors import DeadlineReached, GpuOutOfMemory, MemoryExhausted
from scribe.runtime.gpu_errors import gpu_failure
from scribe.runtime.monitor import Monitor
from scribe.transcript import Chunk, Segment

if TYPE_CHECKING:
    from ctranslate2.models import WhisperGenerationResult
    from faster_whisper.tokenizer import Tokenizer

log = logging.getLogger(__name__)

# A chunk without a pause is cut in the middle of its quietest frame of this length, in seconds.
FRAME_S = 0.02


class BatchedEngine(WhisperEngine):
    """A faster-whisper model decoded in batches. `source` is a folder or a name; `compute_type` is CTranslate2's."""

    def __init__(self, source: str, device: str, compute_type: str, threads: int, local_only: bool = False) -> None:
        from faster_whisper import WhisperModel

        require_tokenizer(source)
        model = WhisperModel(
            source, device, compute_type=compute_type, cpu_threads=threads, local_files_only=local_only
        )
        super().__init__(model, device)

    def _recognized(self, request: TranscriptionRequest, batch: int, monitor: Monitor) -> list[Segment]:
        audio, chunks, language, options = request.audio, request.chunks, request.language, request.options
        limits = Limits(options.compression_ratio_threshold, options.log_prob_threshold, options.no_speech_threshold)
        judge, tokenizer = Judge(limits, language), self._tokenizer(language, options.task)
        first, *others = passes(options)

        def decode(
            pieces: Sequence[Chunk], numbers: Sequence[int], attempt: DecodingPass
        ) -> Iterator[dict[int, Decoded]]:
            # No more rows (chunks times beams) than the first pass, so that they fit into the same memory; half of them
            # for twice the tokens.
            rows = (
                batch
                if attempt == first
                else batch * first.beam_size // max(attempt.beam_size, BEST_OF) // (1 + attempt.longest)
            )
            return self._decoded(audio, pieces, tokenizer, options, numbers, attempt, max(1, rows))

        found: dict[int, Decoded] = {}
        # Sorted by length, so that the chunks of a batch end at about the same time.
        order = sorted(range(len(chunks)), key=lambda n: chunks[n].start - chunks[n].end)
        for decoded in decode(chunks, order, first):
            found |= decoded
            monitor.progress(len(found) / len(chunks))
        texts = judge.first(chunks, found)
        try:
            for attempt in others:
                again = worth_repeating(texts, attempt, first, len(chunks))
                for decoded in decode([text.chunk for text in texts], again, attempt):
                    monitor.progress(1.0)
                    for number, one in decoded.items():
                        texts[number] = judge.better(texts[number], one)
            texts = self._halved(audio, texts, judge, functools.partial(decode, attempt=others[1]), monitor)
        except DeadlineReached:
            pass  # keep the texts so far, with their marks
        except (RuntimeError, MemoryError) as error:  # pybind11 converts std::bad_alloc to MemoryError
            if not isinstance(gpu_failure(error), (GpuOutOfMemory, MemoryExhausted)):
                raise
            log.warning("out of memory in a second pass: doubtful chunks stay as they are")
        doubtful = sum(bool(text.reasons) for text in texts)
        if doubtful:
            log.info("of %d chunks, %d are doubtful after a second pass", len(chunks), doubtful)
        return [text.segment for text in texts]

    def _halved(
        self,
        audio: Audio,
        texts: list[Text],
        judge: Judge,
        decode: Callable[[Sequence[Chunk], Sequence[int]], Iterator[dict[int, Decoded]]],
        monitor: Monitor,
    ) -> list[Text]:
        """Decode chunks whose text exceeds the model's tokens as two or four parts; return the texts with theirs.

        Whisper's own decoding continues from the last time stamp; without time stamps the rest of the chunk would be lost.
        """
        for _ in range(HALVINGS):
            outgrown = [n for n, text in enumerate(texts) if text.outgrown]
            quietest = functools.partial(_quietest, audio)
            parts = [half for n in outgrown for half in halves(texts[n].chunk, quietest)]
            found: dict[int, Decoded] = {}
            for decoded in decode(parts, range(len(parts))):
                found |= decoded
                monitor.progress(1.0)
            decoded_parts = [(part, found[n]) for n, part in enumerate(parts)]
            instead = {n: judge.halved(texts[n], decoded_parts[2 * i : 2 * i + 2]) for i, n in enumerate(outgrown)}
            texts = [text for n, whole in enumerate(texts) for text in instead.get(n, [whole])]
        return texts

    def _decoded(
        self,
        audio: Audio,
        chunks: Sequence[Chunk],
        tokenizer: Tokenizer,
        options: SpeechOptions,
        numbers: Sequence[int],
        attempt: DecodingPass,
        batch: int,
    ) -> Iterator[dict[int, Decoded]]:
        """Decode the chunks `numbers`; yield {number: text} for each batch while the next batch's features are computed."""
        prompt = self._prompt(tokenizer, options, attempt)
        suppressed = [-1, *(self._numerals if options.suppress_numerals else ())]
        search: dict[str, float] = {"beam_size": attempt.beam_size, "patience": options.patience}
        if attempt.temperature:
            search = {"beam_size": 1, "num_hypotheses": BEST_OF, "sampling_topk": 0}
            search["sampling_temperature"] = attempt.temperature
        batches = [numbers[n : n + batch] for n in range(0, len(numbers), batch)]
        for part, features in self._ahead(audio, [[chunks[n] for n in part] for part in batches], batches):
            # CTranslate2 stops at half of max_length, or when prompt and text together reach it.
            room = self._model.max_length - len(prompt)
            most = room if attempt.longest else min(self._model.max_length // 2, room)
            if attempt.limited:
                longest = max(chunks[n].end - chunks[n].start for n in part)
                most = min(most, limit(longest))
            results = self._model.model.generate(
                self._model.encode(features),
                [prompt] * len(part),
                length_penalty=options.length_penalty,
                repetition_penalty=options.repetition_penalty,
                no_repeat_ngram_size=options.no_repeat_ngram_size,
                max_length=max(2 * most, most + len(prompt)),
                return_scores=True,
                return_no_speech_prob=True,
                suppress_blank=True,
                suppress_tokens=suppressed,
                **search,
            )
            yield {
                n: self._to_decoded(result, tokenizer, options, most) for n, result in zip(part, results, strict=True)
            }

    def _to_decoded(
        self, result: WhisperGenerationResult, tokenizer: Tokenizer, options: SpeechOptions, limit: int
    ) -> Decoded:
        tokens = result.sequences_ids[0]
        total = result.scores[0] * len(tokens) ** options.length_penalty
        text = tokenizer.tokenizer.decode([t for t in tokens if t < tokenizer.eot])
        # Whisper writes a lone full stop for silence: that is no text.
        text = text if any(map(str.isalnum, text)) else ""
        return Decoded(text, total / (len(tokens) + 1), result.no_speech_prob, cut=len(tokens) >= limit)

    def _ahead(
        self, audio: Audio, parts: Sequence[Sequence[Chunk]], batches: Sequence[Sequence[int]]
    ) -> Iterator[tuple[Sequence[int], Features]]:
        """Yield each batch with its features, computing the next ones in a thread: CTranslate2 releases the GIL."""
        with ThreadPoolExecutor(1, "features") as pool:
            following = pool.submit(self._features, audio, parts[0]) if parts else None
            for number, batch in enumerate(batches):
                assert following is not None
                features = following.result()
                if number + 1 < len(parts):
                    following = pool.submit(self._features, audio, parts[number + 1])
                yield batch, features

    def _tokenizer(self, language: str, task: str) -> Tokenizer:
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(self._model.hf_tokenizer, self._model.model.is_multilingual, task=task, language=language)

    def _prompt(self, tokenizer: Tokenizer, options: SpeechOptions, attempt: DecodingPass) -> list[int]:
        before = tokenizer.encode(" " + options.initial_prompt) if attempt.prompted and options.initial_prompt else []
        hotwords = options.hotwords if attempt.prompted else None
        prompt: list[int] = self._model.get_prompt(tokenizer, before, without_timestamps=True, hotwords=hotwords)
        return prompt

    @functools.cached_property
    def _numerals(self) -> list[int]:
        """The tokens that contain a digit or one of whisperX's symbols for amounts."""
        tokenizer = self._model.hf_tokenizer
        texts = tokenizer.decode_batch([[n] for n in range(tokenizer.token_to_id("<|endoftext|>"))])
        return [n for n, text in enumerate(texts) if set(text) & set("0123456789%$£")]


def _quietest(audio: Audio, start: float, end: float) -> float:
    """Return the middle of the quietest frame between `start` and `end`, in seconds of the recording."""
    frame = int(FRAME_S * SAMPLE_RATE)
    samples = np.asarray(audio[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)])
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    return start + (int(np.argmin(np.square(frames).sum(axis=1))) + 0.5) * FRAME_S
