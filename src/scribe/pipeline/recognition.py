"""Detect speech and its language, and recognize it, for each channel of a recording."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from scribe.audio.decode import Audio
from scribe.engines.base import ALL_OPTIONS, Engine, SpeechOptions, TranscriptionRequest
from scribe.engines.missed_speech import apart, padded, passed_over, voiced_seconds
from scribe.errors import DeadlineReached, GpuOutOfMemory, InvalidInput, MemoryExhausted
from scribe.formats.times import clock
from scribe.models.cache import Stage
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.pipeline.context import JobContext
from scribe.pipeline.gpu_budget import GpuBudget
from scribe.runtime.out_of_memory import fitted
from scribe.schema.ignored_options import DETECTION, GATES
from scribe.schema.job import JobInput
from scribe.schema.languages import language_name
from scribe.schema.parsing import JobRequest
from scribe.transcript import Chunk, Segment, Span

log = logging.getLogger(__name__)

# Options that contain speech content.
PRIVATE = ("initial_prompt", "hotwords")


@dataclass(frozen=True, slots=True)
class SpeechDetection:
    """Settings of the voice activity detection: the job's, else the model set's. `chunk_size` in seconds."""

    vad_method: str
    vad_onset: float
    vad_offset: float
    chunk_size: int


@dataclass(frozen=True, slots=True)
class Speech:
    """The chunks of speech of each channel, and how to recognize them: the loaded engine, its options, and the language,
    None if it must be detected."""

    channels: list[list[Chunk]]
    engine: Engine
    options: SpeechOptions
    language: str | None

    def __bool__(self) -> bool:
        return any(self.channels)

    @property
    def spans(self) -> list[Span]:
        """The spans of speech in the first channel."""
        return [span for chunk in self.channels[0] for span in chunk.speech]


@dataclass(frozen=True, slots=True)
class Recognized:
    """Segments by channel; the language, and its probability if it was detected."""

    language: str | None
    probability: float | None
    channels: list[list[Segment]]


class Recognizer:
    """Recognizes the speech of one job: `find_speech`, then `recognize`, so that other stages can start in between."""

    def __init__(self, models: Models, request: JobRequest, context: JobContext, budget: GpuBudget) -> None:
        self._models = models
        self._options = request.options
        self._context = context
        self._monitor = context.monitor
        self._place = models.model_set.speech(request.options.model)
        self._clear = budget.clear(Stage.SPEECH, Stage.VOICE_ACTIVITY)
        self._ceiling = models.ceiling(self._place)

    def find_speech(self, channels: Sequence[Audio]) -> Speech:
        """Load the models and detect the chunks of speech in each channel; warn if there are none.

        Raises InvalidInput for a language or task that the model does not support.
        """
        options, record = self._options, self._context.record
        how = speech_detection(options, self._models)
        if options.vad_offset is not None and how.vad_offset < options.vad_offset:
            message = f"vad_offset is lowered to vad_onset, {how.vad_onset:g}"
            record.warn("option_reduced", "transcribe", message)
        with record.timed("load"):
            # The engine first: while its weights are read, the imports for pyannote's detector run in the background.
            engine, _ = fitted(lambda _: self._models.engine(self._place), clear=self._clear)
            detector, _ = fitted(lambda _: self._models.detector(how.vad_method), clear=self._clear)
        asked = speech_options(options, self._models.model_set, engine.batch_size)
        acting, language = self._honoured(engine, replace(asked, batch_size=self._ceiling.below(asked.batch_size)))
        shown = asdict(acting)
        record.models["transcribe"] = self._place.identity
        record.use(model=self._place.name, device=self._models.device, compute_type=self._models.compute_type)
        record.use_private(**{name: shown.pop(name) for name in PRIVATE})
        record.use(**asdict(how), **shown)
        chunks: list[list[Chunk]] = []
        with record.timed("vad"):
            limits = how.vad_onset, how.vad_offset, how.chunk_size
            for audio in channels:
                self._monitor.raise_if_stopped()

                def find(_: int, audio: Audio = audio) -> list[Chunk]:
                    return detector.chunks(audio, *limits, self._monitor.silent())

                chunks.append(fitted(find, clear=self._clear)[0])
        found = Speech(apart(chunks), engine, acting, language)
        if not found:
            record.warn("no_speech", "transcribe", "no speech was found in the recording")
        return found

    def recognize(self, channels: Sequence[Audio], speech: Speech) -> Recognized:
        """Recognize the chunks of speech. Raises what the engine raises, and DeadlineReached if the deadline passed before
        anything was recognized."""
        job, record, engine, chunks = self._options, self._context.record, speech.engine, speech.channels
        if not speech:
            return Recognized(job.language, None, [[] for _ in channels])
        options, language = speech.options, speech.language
        probability: float | None = None
        if language is None:
            record.use(**{name: getattr(job, name) for name in DETECTION})
            tries = job.language_detection_max_tries, job.language_detection_min_prob
            voiced = next((audio, part) for audio, part in zip(channels, chunks, strict=True) if part)
            listen = partial(engine.detect_language, *voiced, *tries, self._monitor)
            detected, _ = fitted(lambda _: listen(), clear=self._clear)
            language, probability = detected
        parts, batch = self._transcribed(channels, speech, language)
        self._ceiling.learn(options.batch_size, batch)
        if engine.abilities.doubts and not record.partial:
            for audio, found, part in zip(channels, chunks, parts, strict=True):
                again = padded(passed_over(found, part), found, audio.seconds)
                if not again:
                    continue
                fitting = replace(options, batch_size=batch, initial_prompt=None, hotwords=None)
                part.extend(self._recognized_again(engine, TranscriptionRequest(audio, again, language, fitting)))
                part.sort(key=lambda s: s.start)
        self._warn_of_doubts(chunks, parts)
        if batch < (job.batch_size or options.batch_size):
            message = f"batches of {job.batch_size or options.batch_size} did not fit into memory; {batch} did"
            record.warn("batch_reduced", "transcribe", message)
        record.use(language=language, batch_size=batch)
        return Recognized(language, probability, parts)

    def _honoured(self, engine: Engine, asked: SpeechOptions) -> tuple[SpeechOptions, str | None]:
        """Return (the options that this model supports, the language or None to detect it); warn about all others.

        Raises InvalidInput for a language or task that the model does not support.
        """
        job, can, warn = self._options, engine.abilities, self._context.record.warn
        options = engine.fitted(asked)
        for name in ("initial_prompt", "hotwords"):
            if getattr(options, name) != getattr(asked, name):
                warn("option_reduced", "transcribe", f"{name} is too long for the model and was cut")
        default = SpeechOptions()
        for name in sorted(ALL_OPTIONS - can.options):
            if name in job.model_fields_set and getattr(job, name) is not None:
                warn("option_ignored", "transcribe", f"{name} does nothing: {can.engine} has no such option")
            options = replace(options, **{name: getattr(default, name)})
        if len(can.languages) > 1:
            if job.language is not None and job.language not in can.languages:
                raise _refused("language", f"'{job.language}' is not among this model's languages")
            if job.task == "translate" and not can.translates:
                raise _refused("task", "translate is beyond this model: it only transcribes")
            return options, job.language
        (language,) = can.languages
        name = language_name(language)
        if job.language not in (None, language):
            warn("option_ignored", "transcribe", f"language does nothing: this model writes {name} only")
        if job.task != "transcribe":
            warn("option_ignored", "transcribe", f"task does nothing: this model writes {name} only")
        return replace(options, task="transcribe"), language

    def _transcribed(self, channels: Sequence[Audio], speech: Speech, language: str) -> tuple[list[list[Segment]], int]:
        """Return (segments by channel, the batch size that fitted). At a deadline, keep what was recognized before it."""
        parts: list[list[Segment]] = [[] for _ in channels]
        batch, record = speech.options.batch_size, self._context.record
        # With a deadline, emit after every batch, so that it loses at most one.
        every_batch = self._options.deadline_s is not None
        try:
            for number, (audio, found) in enumerate(zip(channels, speech.channels, strict=True)):
                part, monitor = parts[number], self._monitor.part(number, len(channels))
                fitting = replace(speech.options, batch_size=batch)
                request = TranscriptionRequest(audio, found, language, fitting, every_batch)
                batch = speech.engine.transcribe(request, part.append, monitor, self._clear)
        except DeadlineReached as error:
            if not any(parts):
                raise
            record.partial = True
            record.warn(error.code, "transcribe", f"{error.message}: the rest of the recording is not transcribed")
        return parts, batch

    def _recognized_again(self, engine: Engine, request: TranscriptionRequest) -> list[Segment]:
        """Recognize chunks without text again, with padding, and return the segments that are not doubtful."""
        found: list[Segment] = []
        try:
            engine.transcribe(request, found.append, self._monitor.silent(), self._clear)
        except (DeadlineReached, GpuOutOfMemory, MemoryExhausted) as error:
            log.warning("speech without text was not recognized again: %s", error)
        return [segment for segment in found if not segment.suspect]

    def _warn_of_doubts(self, chunks: Sequence[Sequence[Chunk]], parts: Sequence[Sequence[Segment]]) -> None:
        """Warn about text that may be invented and about speech without text."""
        record = self._context.record
        doubtful = [segment for part in parts for segment in part if segment.suspect]
        if doubtful:
            where = f"{len(doubtful)} of {sum(map(len, parts))} stretches, the first at {clock(doubtful[0].start)}"
            message = f"the text may not be what was said: {where}; see their suspect"
            record.warn("suspect_text", "transcribe", message)
        missed = [chunk for found, part in zip(chunks, parts, strict=True) for chunk in passed_over(found, part)]
        if missed and not record.partial:
            seconds = sum(map(voiced_seconds, missed))
            message = f"{seconds:.1f} s that sound like speech have no text, the first at {clock(missed[0].start)}"
            record.warn("speech_without_text", "transcribe", message)


def speech_options(job: JobInput, model_set: ModelSet, batch_size: int) -> SpeechOptions:
    """Return the engine's options: the job's values, else those of the model set; `batch_size` if the job sets none."""
    # Sampling at temperature 0 would repeat the first pass.
    asked = {name: getattr(job, name) for name in GATES} | {"temperature": job.temperature or None}
    gates = {"log_prob_threshold": model_set.log_prob_threshold} | {k: v for k, v in asked.items() if v is not None}
    return SpeechOptions(
        task=job.task,
        batch_size=job.batch_size or batch_size,
        beam_size=job.beam,
        patience=job.patience,
        length_penalty=job.length_penalty,
        repetition_penalty=job.repetition_penalty,
        no_repeat_ngram_size=job.no_repeat_ngram_size,
        initial_prompt=(job.initial_prompt or "").strip() or None,
        hotwords=(job.hotwords or "").strip() or None,
        suppress_numerals=job.suppress_numerals,
        **gates,
    )


def speech_detection(job: JobInput, models: Models) -> SpeechDetection:
    """Return the job's voice activity options, else those of the model set."""
    model_set = models.model_set
    onset = job.vad_onset or model_set.vad_onset
    return SpeechDetection(
        job.vad_method or model_set.vad_method,
        onset,
        # An offset above the onset would end speech while its probability is still high enough to begin it.
        min(onset, job.vad_offset or model_set.vad_offset),
        job.chunk_size or model_set.chunk_size,
    )


def _refused(key: str, problem: str) -> InvalidInput:
    """Return the error for an option that the loaded model does not support."""
    return InvalidInput(
        f"{key}: {problem}; large-v3 and turbo know all", {"problems": [{"key": key, "problem": problem}]}
    )
