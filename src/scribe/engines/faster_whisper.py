"""What every engine on faster-whisper's model shares: the prompt's room, the language, the groups of chunks."""

from __future__ import annotations

import dataclasses
import logging
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.engines.base import SpeechOptions
from scribe.engines.missed_speech import WINDOW_S
from scribe.errors import ModelNotFound
from scribe.runtime.machine import free_gpu_memory, largest_batch
from scribe.runtime.out_of_memory import Clear, fitted, nothing
from scribe.transcript import Chunk, Segment

log = logging.getLogger(__name__)
Tick = Callable[[float | None], None]

# What a stop can lose, and what is sorted by length: the batches of a group are decoded before any of them is told.
GROUP_BATCHES = 4
GROUP_CHUNKS = 128

CPU_BATCH, LARGEST_BATCH = 4, 64
# One chunk of large-v3 with a beam of 5 (its keys and values for 1500 frames, twice 32 layers), and what is left for
# pyannote, which was seen to take 9.5 GB on long files.
CHUNK_BYTES, LEFT_BYTES = 600_000_000, 9_500_000_000


class WhisperEngine:
    """`model` is a loaded faster_whisper.WhisperModel."""

    gated = True

    def __init__(self, model: Any, device: str) -> None:
        self._model = model
        _set_mel_bins(model)
        self._device = device
        self._at_first = comfortable_batch(free_gpu_memory()) if device == "cuda" else CPU_BATCH

    @property
    def batch_size(self) -> int:
        """For a job that begins now. What the other stages' models took since this one was loaded is not counted twice: as
        many as suited the empty card, unless the memory that is free now does not hold them, or more do suit by now.

        CTranslate2's allocator, cudaMallocAsync, has given back by now what earlier batches used.
        """
        free = free_gpu_memory() if self._device == "cuda" else None
        if free is None:
            return self._at_first
        return largest_batch(free, CHUNK_BYTES, max(self._at_first, comfortable_batch(free)))

    @property
    def multilingual(self) -> bool:
        return bool(self._model.model.is_multilingual)

    def knows(self, language: str) -> bool:
        return self._model.hf_tokenizer.token_to_id(f"<|{language}|>") is not None

    def fitted(self, options: SpeechOptions) -> SpeechOptions:
        """Whisper's window holds 448 tokens, prompt and text together; faster-whisper cuts the prompt and the hotwords to
        half of it each, and the two together then fail, or leave no room to write. They share one half here."""
        tokenizer, most = self._model.hf_tokenizer, self._model.max_length // 2 - 1
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
        if not self.multilingual:
            return "en", None
        heard: list[dict[str, float]] = []
        for chunk in chunks[:max_tries]:
            tick(None)
            found = self._model.model.detect_language(self._model.encode(self._features(audio, [chunk])))[0]
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
        clear: Clear = nothing,
        every_batch: bool = False,
    ) -> int:
        """Works through groups of chunks, so that a stop keeps what is done, and memory that runs out repeats no more.

        Raises GpuOutOfMemory when not even one chunk fits.
        """
        batch, done = options.batch_size, 0
        most = batch if every_batch else min(GROUP_CHUNKS, GROUP_BATCHES * batch)
        while done < len(chunks):
            group = chunks[done : done + most]
            told = _within(tick, done, len(group), len(chunks))
            listen = partial(self._heard, audio, group, language, options)
            found, batch = fitted(lambda size, listen=listen, told=told: listen(size, told), batch, clear)
            for segment in found:
                emit(segment)
            done += len(group)
        return batch

    @abstractmethod
    def _heard(
        self,
        audio: Audio,
        chunks: Sequence[Chunk],
        language: str,
        options: SpeechOptions,
        batch: int,
        tick: Callable[[float], None],
    ) -> list[Segment]:
        """The segments of one group, in time order; a chunk without text has none."""

    def _features(self, audio: Audio, chunks: Sequence[Chunk]) -> np.ndarray:
        """Log-mel windows of 30 s, (chunks, mel bins, 3000) float32; what is longer is cut, what is shorter is silent."""
        extractor, longest = self._model.feature_extractor, WINDOW_S * SAMPLE_RATE
        windows = []
        for chunk in chunks:
            samples = audio[int(chunk.start * SAMPLE_RATE) : int(chunk.end * SAMPLE_RATE)][:longest]
            windows.append(extractor(samples, padding=longest - len(samples)))
        return np.ascontiguousarray(np.stack(windows), dtype=np.float32)


def require_tokenizer(source: str) -> None:
    """Refuse a converted model without its tokenizer; faster-whisper would take that of openai/whisper-tiny.

    Models have one of four vocabularies, whose special tokens differ: with another model's the task and the language are
    garbled, and nothing says so. Raises ModelNotFound.
    """
    folder = Path(source)
    if (folder / "model.bin").is_file() and not (folder / "tokenizer.json").is_file():
        raise ModelNotFound(
            f"{folder.name} has no tokenizer.json: copy it, and preprocessor_config.json, from the model that was"
            " converted (ct2-transformers-converter --copy_files tokenizer.json preprocessor_config.json)",
            {"model": folder.name},
        )


def _set_mel_bins(model: Any) -> None:
    """Compute as many mel bins as the model has inputs: without preprocessor_config.json faster-whisper takes 80."""
    from faster_whisper.feature_extractor import FeatureExtractor

    bins = model.model.n_mels
    if model.feat_kwargs.get("feature_size", 80) != bins:
        model.feat_kwargs["feature_size"] = bins
        model.feature_extractor = FeatureExtractor(**model.feat_kwargs)


def comfortable_batch(free_bytes: int | None) -> int:
    """Chunks at once for that much free GPU memory: a power of two, 16 on a card of 24 GB; 16 where it is unknown."""
    if free_bytes is None:
        return 16
    return largest_batch(max(free_bytes - LEFT_BYTES, free_bytes // 2), CHUNK_BYTES, LARGEST_BATCH)


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


def _within(tick: Tick, done: int, group: int, total: int) -> Callable[[float], None]:
    """A tick for the group of `group` chunks that begins after `done` of `total`."""
    return lambda part: tick((done + part * group) / total)
