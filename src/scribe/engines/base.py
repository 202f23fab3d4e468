"""The base class of speech engines: declared abilities, one request object, and batching shared by all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar

from scribe.audio.decode import Audio
from scribe.runtime.machine import free_gpu_memory, largest_batch
from scribe.runtime.monitor import UNWATCHED, Monitor
from scribe.runtime.out_of_memory import Clear, fitted, nothing
from scribe.transcript import Chunk, Segment

# A group's batches are sorted by length, and its text is emitted after all of them are decoded: a stop loses one group.
GROUP_BATCHES = 4
GROUP_CHUNKS = 128
# Batch sizes: on a CPU, when free GPU memory is unknown, and at most.
CPU_BATCH, UNKNOWN_BATCH, LARGEST_BATCH = 4, 16, 64
# GPU memory left free for pyannote, which takes up to 9.5 GB on long files.
LEFT_BYTES = 9_500_000_000


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """The options of the recognizer; their ranges are checked by the schema."""

    task: str = "transcribe"
    batch_size: int = CPU_BATCH
    beam_size: int = 5
    patience: float = 1.0
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    initial_prompt: str | None = None
    hotwords: str | None = None
    suppress_numerals: bool = False
    temperature: float = 0.2
    compression_ratio_threshold: float = 2.4
    log_prob_threshold: float = -1.0
    no_speech_threshold: float = 0.6


ALL_OPTIONS = frozenset(field.name for field in fields(SpeechOptions))


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a loaded model can do.

    `engine` names its decoding in warnings. `languages` are ISO codes; a model with a single one writes that language for
    any audio. `tells_language`: it can detect the language. `options`: those of SpeechOptions that have an effect.
    `doubts`: doubtful text is decoded again and marked.
    """

    engine: str
    languages: frozenset[str]
    tells_language: bool = True
    translates: bool = True
    options: frozenset[str] = ALL_OPTIONS
    doubts: bool = True


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """Chunks of one recording to recognize. `every_batch`: emit after each batch, so that a stop loses at most one."""

    audio: Audio
    chunks: Sequence[Chunk]
    language: str
    options: SpeechOptions
    every_batch: bool = False


class Engine(ABC):
    """A loaded speech model. Not thread-safe: the caller holds the GPU lock.

    `chunk_bytes` is the GPU memory that each chunk of a batch takes.
    """

    chunk_bytes: ClassVar[int]

    def __init__(self, device: str) -> None:
        self._device = device
        self._batch_at_load = self._comfortable_batch(free_gpu_memory()) if device == "cuda" else CPU_BATCH

    @property
    @abstractmethod
    def abilities(self) -> Abilities:
        """What this model can do."""

    @abstractmethod
    def detect_language(
        self, audio: Audio, chunks: Sequence[Chunk], max_tries: int, min_prob: float, monitor: Monitor = UNWATCHED
    ) -> tuple[str, float | None]:
        """Detect the language on at most `max_tries` chunks: (ISO code, probability 0 to 1, None for a model of one language)."""

    @abstractmethod
    def _recognized(self, request: TranscriptionRequest, batch: int, monitor: Monitor) -> list[Segment]:
        """Recognize a group of chunks, `batch` at a time; return its segments in time order, none for a chunk without text."""

    def fitted(self, options: SpeechOptions) -> SpeechOptions:
        """Return the options with initial_prompt and hotwords cut to the model's prompt length."""
        return options

    @property
    def batch_size(self) -> int:
        """The batch size that fits the device now: the one chosen when the model was loaded, less if free memory is too
        small for it, more if there is more free memory now.

        The size at load time already leaves room for the later models, so their memory is not subtracted twice. Memory of
        earlier batches counts as free, because CTranslate2's allocator, cudaMallocAsync, has returned it.
        """
        free = free_gpu_memory() if self._device == "cuda" else None
        if free is None:
            return self._batch_at_load
        return largest_batch(free, self.chunk_bytes, max(self._batch_at_load, self._comfortable_batch(free)))

    def transcribe(
        self,
        request: TranscriptionRequest,
        emit: Callable[[Segment], None],
        monitor: Monitor = UNWATCHED,
        clear: Clear = nothing,
    ) -> int:
        """Recognize the chunks and emit their segments in time order; return the batch size that fitted into memory.

        Works in groups of chunks, so that a stop keeps what was emitted, and running out of memory repeats only one group.
        A batch that does not fit is retried after `clear` freed memory, else made smaller. A chunk whose text exceeds the
        model's tokens gives several segments. Raises GpuOutOfMemory when not even one chunk fits.
        """
        chunks, batch, done = request.chunks, request.options.batch_size, 0
        most = batch if request.every_batch else min(GROUP_CHUNKS, GROUP_BATCHES * batch)
        while done < len(chunks):
            group = replace(request, chunks=chunks[done : done + most])
            inner = _of_group(monitor, done, len(group.chunks), len(chunks))

            def recognized(size: int, group: TranscriptionRequest = group, inner: Monitor = inner) -> list[Segment]:
                return self._recognized(group, size, inner)

            found, batch = fitted(recognized, batch, clear)
            for segment in found:
                emit(segment)
            done += len(group.chunks)
        return batch

    @classmethod
    def _comfortable_batch(cls, free_bytes: int | None) -> int:
        """Return the batch size for this much free GPU memory, a power of two: 16 on a card of 24 GB; 16 if it is unknown."""
        if free_bytes is None:
            return UNKNOWN_BATCH
        return largest_batch(max(free_bytes - LEFT_BYTES, free_bytes // 2), cls.chunk_bytes, LARGEST_BATCH)


def _of_group(monitor: Monitor, done: int, group: int, total: int) -> Monitor:
    """Return a monitor that maps the progress of a group of chunks, starting after `done` of `total`, to the whole."""
    return Monitor(monitor.stopped, lambda fraction: monitor.report((done + fraction * group) / total))
