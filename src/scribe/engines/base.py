"""What every speech engine has: its declared abilities, one request object, and the batching that all of them share."""

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

# The batches of a group are decoded before any of their text is emitted: what a stop can lose, and what is sorted by length.
GROUP_BATCHES = 4
GROUP_CHUNKS = 128
# Chunks at once: on a CPU, where free GPU memory is unknown, and at most.
CPU_BATCH, UNKNOWN_BATCH, LARGEST_BATCH = 4, 16, 64
# Left free on a card: pyannote was seen to take 9.5 GB on long files.
LEFT_BYTES = 9_500_000_000


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """What a job may set on the recognizer; ranges are the job's contract."""

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

    `engine` names its decoding in a warning. `languages` are ISO codes; with one alone the model writes that, whatever it
    is given. `tells_language`: it can detect the language. `options`: those of SpeechOptions that act. `doubts`: doubtful
    text is decoded again and marked.
    """

    engine: str
    languages: frozenset[str]
    tells_language: bool = True
    translates: bool = True
    options: frozenset[str] = ALL_OPTIONS
    doubts: bool = True


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """Chunks of one recording to recognize. `every_batch`: emit after each batch, so that a stop loses one at most."""

    audio: Audio
    chunks: Sequence[Chunk]
    language: str
    options: SpeechOptions
    every_batch: bool = False


class Engine(ABC):
    """A loaded speech model. Not safe for two jobs at once: the caller holds the GPU's lock.

    `chunk_bytes` is the GPU memory that one chunk of a batch takes.
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
        """(ISO code, probability 0..1 or None for a model of one language), heard on at most `max_tries` chunks of speech."""

    @abstractmethod
    def _recognized(self, request: TranscriptionRequest, batch: int, monitor: Monitor) -> list[Segment]:
        """The segments of a group of chunks, in time order, `batch` at a time; a chunk without text has none."""

    def fitted(self, options: SpeechOptions) -> SpeechOptions:
        """The options with initial_prompt and hotwords cut to what goes before a chunk and leaves room for its text."""
        return options

    @property
    def batch_size(self) -> int:
        """Chunks at once that suit the device now: as many as suited the empty card, unless the memory that is free now does
        not hold them, or more do suit by now. What later models took is so not counted twice.

        CTranslate2's allocator, cudaMallocAsync, has given back by now what earlier batches used.
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
        """Emit one segment a chunk, or its parts where its text has no room, in time order; return the batch size that
        fitted into memory at last.

        Works through groups of chunks, so that a stop keeps what was emitted, and memory that runs out repeats no more.
        `clear` is asked before a batch is made smaller: where it freed memory, the same batch is tried again. Raises
        GpuOutOfMemory when not even one chunk fits.
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
        """Chunks at once for that much free GPU memory: a power of two, 16 on a card of 24 GB; 16 where it is unknown."""
        if free_bytes is None:
            return UNKNOWN_BATCH
        return largest_batch(max(free_bytes - LEFT_BYTES, free_bytes // 2), cls.chunk_bytes, LARGEST_BATCH)


def _of_group(monitor: Monitor, done: int, group: int, total: int) -> Monitor:
    """The monitor of a group of `group` chunks that begins after `done` of `total`."""
    return Monitor(monitor.stopped, lambda fraction: monitor.report((done + fraction * group) / total))
