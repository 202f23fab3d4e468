"""The interface that every speech engine has, and the options that a job may set on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from scribe.audio.decode import Audio
from scribe.transcript import Chunk, Segment


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """What a job may set on the recognizer; ranges are the job's contract."""

    task: str = "transcribe"
    batch_size: int = 4
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


class Engine(Protocol):
    """A loaded speech model. Not safe for two jobs at once: the caller holds the GPU's lock.

    `multilingual`: False for a model that writes English only, whatever language or task it is given. `batch_size`: the
    chunks at once that suit the device now. `gated`: doubtful text is looked at again and marked.
    """

    batch_size: int
    gated: bool

    @property
    def multilingual(self) -> bool: ...

    def knows(self, language: str) -> bool:
        """Whether a multilingual model can be told to write this language: yue came with large-v3."""

    def fitted(self, options: SpeechOptions) -> SpeechOptions:
        """The options with initial_prompt and hotwords cut to what goes before a chunk and leaves room for its text."""

    def detect_language(
        self,
        audio: Audio,
        chunks: Sequence[Chunk],
        max_tries: int,
        min_prob: float,
        tick: Callable[[float | None], None],
    ) -> tuple[str, float | None]:
        """(ISO code, probability 0..1 or None for a model of one language), heard on at most `max_tries` chunks of speech."""

    def transcribe(
        self,
        audio: Audio,
        chunks: Sequence[Chunk],
        language: str,
        options: SpeechOptions,
        emit: Callable[[Segment], None],
        tick: Callable[[float | None], None],
        clear: Callable[[], bool] = lambda: False,
        every_batch: bool = False,
    ) -> int:
        """Emit one segment a chunk, or its parts where its text has no room, in time order; return the batch size that
        fitted into memory at last.

        `every_batch`: emit after each, and not after a group of them that is sorted by length; a stop then costs least.

        `clear` is asked before a batch is made smaller: where it freed memory, the same batch is tried again.

        `tick` gets the fraction done between batches and may raise to stop: what was emitted until then stands.
        """
