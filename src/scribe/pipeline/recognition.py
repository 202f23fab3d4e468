"""Speech -> text: voice activity, the language, the engine's segments, for each channel of one recording."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from scribe.audio.decode import Audio
from scribe.engines.base import Engine, SpeechOptions
from scribe.engines.missed_speech import apart, padded, passed_over, voiced_seconds
from scribe.errors import DeadlineReached, GpuOutOfMemory, InvalidInput
from scribe.formats.times import clock
from scribe.models.cache import Stage
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.pipeline.stages import Stages
from scribe.runtime.out_of_memory import Clear, fitted
from scribe.schema.job import JobInput
from scribe.schema.warnings import DETECTION, GATES
from scribe.transcript import Chunk, Segment

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """How speech is found: the job's wishes over the model set's values."""

    vad_method: str
    vad_onset: float
    vad_offset: float
    chunk_size: int


@dataclass(frozen=True, slots=True)
class Recognized:
    """Segments by channel; the probability only when the language was detected; the options that acted; the model."""

    language: str | None
    probability: float | None
    channels: list[list[Segment]]
    effective: dict[str, Any]
    model: str


def recognize(
    channels: Sequence[Audio],
    job: JobInput,
    models: Models,
    stages: Stages,
    speech_found: Callable[[list[list[Chunk]]], None] = lambda chunks: None,
) -> Recognized:
    """`speech_found` gets the chunks of every channel once it is known that somebody speaks, before anything is recognized.

    Raises what the engine raises, and DeadlineReached when the deadline passed before anything was recognized.
    """
    place = models.places.speech(job.model)
    how = listening(job, models)
    if job.vad_offset is not None and how.vad_offset < job.vad_offset:
        stages.notice("option_reduced", "transcribe", f"vad_offset is lowered to vad_onset, {how.vad_onset:g}")

    clear, ceiling = stages.room(models, Stage.SPEECH, Stage.VOICE_ACTIVITY), models.ceiling(place)

    with stages.enter("transcribe"):
        with stages.timed("load"):
            # In this order: while the weights are read, what pyannote's detector stands on is imported.
            engine, _ = fitted(lambda _: models.engine(place), clear=clear)
            detector, _ = fitted(lambda _: models.detector(how.vad_method), clear=clear)
        asked = speech_options(job, models.places, engine.batch_size)
        options, known = _honoured(job, replace(asked, batch_size=ceiling.below(asked.batch_size)), engine, stages)
        named = {"model": place.name, "device": models.device, "compute_type": models.compute_type}
        effective = named | asdict(how) | asdict(options)
        chunks: list[list[Chunk]] = []
        with stages.timed("vad"):
            for audio in channels:
                stages.tick(None)
                limits = how.vad_onset, how.vad_offset, how.chunk_size
                find = partial(detector.chunks, audio, *limits, lambda done: stages.tick(None))
                chunks.append(fitted(lambda _, find=find: find(), clear=clear)[0])
        chunks = apart(chunks)
        voiced = next(((a, c) for a, c in zip(channels, chunks, strict=True) if c), None)
        if voiced is None:
            stages.notice("no_speech", "transcribe", "no speech was found in the recording")
            return Recognized(job.language, None, [[] for _ in channels], effective, place.identity)
        speech_found(chunks)
        language, probability = known, None
        if language is None:
            effective |= {name: getattr(job, name) for name in DETECTION}
            tries = job.language_detection_max_tries, job.language_detection_min_prob
            (language, probability), _ = fitted(
                lambda _: engine.detect_language(*voiced, *tries, stages.tick), clear=clear
            )
        hasty = job.deadline_s is not None
        heard, batch = _transcribed(engine, channels, chunks, language, options, hasty, stages, clear)
        ceiling.learn(options.batch_size, batch)
        if engine.gated and not stages.partial:
            for audio, found, part in zip(channels, chunks, heard, strict=True):
                again = padded(passed_over(found, part), found, audio.seconds)
                fitting = replace(options, batch_size=batch, initial_prompt=None, hotwords=None)
                part.extend(_heard_again(engine, audio, again, language, fitting, stages, clear))
                part.sort(key=lambda s: s.start)
        _tell_doubts(chunks, heard, stages)
    if batch < (job.batch_size or options.batch_size):
        message = f"batches of {job.batch_size or options.batch_size} did not fit into memory; {batch} did"
        stages.notice("batch_reduced", "transcribe", message)
    effective |= {"language": language, "batch_size": batch}
    return Recognized(language, probability, heard, effective, place.identity)


def speech_options(job: JobInput, places: ModelSet, batch_size: int) -> SpeechOptions:
    """What reaches the engine: the job's values, else those of the model set, and `batch_size` where it names none."""
    # Sampling at 0 would be the first look again.
    asked = {name: getattr(job, name) for name in GATES} | {"temperature": job.temperature or None}
    gates = {"log_prob_threshold": places.log_prob_threshold} | {k: v for k, v in asked.items() if v is not None}
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


def listening(job: JobInput, models: Models) -> Listening:
    """The job's voice activity options over those of the model set."""
    places = models.places
    onset = job.vad_onset or places.vad_onset
    return Listening(
        job.vad_method or places.vad_method,
        onset,
        # Speech that ended above the probability at which it begins would flicker.
        min(onset, job.vad_offset or places.vad_offset),
        job.chunk_size or places.chunk_size,
    )


def _honoured(job: JobInput, asked: SpeechOptions, engine: Engine, stages: Stages) -> tuple[SpeechOptions, str | None]:
    """(the options that this model can honour, the language when it need not be detected); a notice for every other."""
    options = engine.fitted(asked)
    for name in ("initial_prompt", "hotwords"):
        if getattr(options, name) != getattr(asked, name):
            stages.notice("option_reduced", "transcribe", f"{name} is too long for the model and was cut")
    for name in () if engine.gated else GATES:
        if getattr(job, name) is not None:
            message = f"{name} does nothing in parity with whisperX, whose batched decoding has no gates"
            stages.notice("option_ignored", "transcribe", message)
    if engine.multilingual:
        if job.language is not None and not engine.knows(job.language):
            problem = {"key": "language", "problem": f"'{job.language}' is not among this model's languages"}
            raise InvalidInput(f"language: {problem['problem']}; large-v3 and turbo know all", {"problems": [problem]})
        return options, job.language
    if job.language not in (None, "en"):
        stages.notice("option_ignored", "transcribe", "language does nothing: this model writes English only")
    if job.task != "transcribe":
        stages.notice("option_ignored", "transcribe", "task does nothing: this model writes English only")
    return replace(options, task="transcribe"), "en"


def _transcribed(
    engine: Engine,
    channels: Sequence[Audio],
    chunks: Sequence[Sequence[Chunk]],
    language: str,
    options: SpeechOptions,
    hasty: bool,
    stages: Stages,
    clear: Clear,
) -> tuple[list[list[Segment]], int]:
    """(segments by channel, the batch size that fitted). A deadline keeps what was recognized before it.

    `hasty`: there is one, and every batch counts.
    """
    heard: list[list[Segment]] = [[] for _ in channels]
    batch = options.batch_size

    def channel(number: int, audio: Audio, found: Sequence[Chunk], fitting: SpeechOptions) -> int:
        part, share = heard[number], stages.share(number, len(channels))
        return engine.transcribe(audio, found, language, fitting, part.append, share, clear, hasty)

    try:
        for number, (audio, found) in enumerate(zip(channels, chunks, strict=True)):
            batch = channel(number, audio, found, replace(options, batch_size=batch))
    except DeadlineReached as error:
        if not any(heard):
            raise
        stages.partial = True
        stages.notice(error.code, "transcribe", f"{error.message}: the rest of the recording is not transcribed")
    return heard, batch


def _heard_again(
    engine: Engine,
    audio: Audio,
    chunks: Sequence[Chunk],
    language: str,
    options: SpeechOptions,
    stages: Stages,
    clear: Clear,
) -> list[Segment]:
    """What a second look, at a little more of the recording, finds in chunks without text; nothing that is doubtful."""
    found: list[Segment] = []

    try:
        if chunks:
            engine.transcribe(audio, chunks, language, options, found.append, lambda fraction: stages.tick(None), clear)
    except (DeadlineReached, GpuOutOfMemory) as error:
        log.warning("speech without text was not listened to again: %s", error)
    return [segment for segment in found if not segment.suspect]


def _tell_doubts(chunks: Sequence[Sequence[Chunk]], heard: Sequence[Sequence[Segment]], stages: Stages) -> None:
    """Say what may be invented, and what was said and has no text."""
    doubtful = [segment for part in heard for segment in part if segment.suspect]
    if doubtful:
        where = f"{len(doubtful)} of {sum(map(len, heard))} stretches, the first at {clock(doubtful[0].start)}"
        stages.notice("suspect_text", "transcribe", f"the text may not be what was said: {where}; see their suspect")
    missed = [chunk for found, part in zip(chunks, heard, strict=True) for chunk in passed_over(found, part)]
    if missed and not stages.partial:
        seconds = sum(map(voiced_seconds, missed))
        message = f"{seconds:.1f} s that sound like speech have no text, the first at {clock(missed[0].start)}"
        stages.notice("speech_without_text", "transcribe", message)
