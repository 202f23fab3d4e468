"""Run the stages of a job: voice activity detection, recognition, alignment, diarization, naming. One job at a time.

Recognition must succeed; a later stage that fails is skipped with a warning, unless the job is `strict`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from scribe.alignment.sentences import NO_TABLES
from scribe.audio.decode import Audio
from scribe.diarization.assignment import assigned_as_by_whisperx, label_by_speaker
from scribe.diarization.diarizer import Diarization
from scribe.errors import InvalidInput
from scribe.models.cache import Stage
from scribe.models.loader import Models
from scribe.pipeline.context import JobContext
from scribe.pipeline.executor import StageExecutor, StepFuture
from scribe.pipeline.gpu_budget import GpuBudget
from scribe.pipeline.naming import Namer
from scribe.pipeline.overlap import Overlap, SideStream
from scribe.pipeline.recognition import Recognizer
from scribe.runtime.fair_lock import FairLock
from scribe.runtime.gpu_errors import gpu_faults
from scribe.runtime.gpu_memory import give_back_unused
from scribe.runtime.monitor import Monitor
from scribe.runtime.out_of_memory import fitted
from scribe.schema.job import JobInput
from scribe.schema.parsing import JobRequest
from scribe.schema.speaker_sample import clean_name
from scribe.speakers.ecapa import Match, VoiceSample
from scribe.transcript import Segment, Span, Speaker, Transcript, Turn, alone, talk_seconds

NO_MATCH = Match(None, None, None, {})


class Predictor:
    """Runs jobs over the worker's models, one at a time in order of arrival (the lock `gpu`).

    `overlap`: whether diarization may run concurrently with recognition; never in parity mode.
    """

    def __init__(self, models: Models, overlap: Overlap = "auto") -> None:
        self.models = models
        self.gpu = FairLock()
        self._side = None if models.parity else SideStream(models.device, overlap)

    def run(
        self, channels: Sequence[Audio], request: JobRequest, voices: Sequence[VoiceSample], context: JobContext
    ) -> Transcript:
        """Transcribe one recording, given as one Audio or one for each channel, by the stages of the request's plan.

        `context.record` gets warnings, seconds, models and options. For a stage that runs concurrently only the seconds
        spent waiting for it are counted; `diarized_beside_s` among the options holds the rest. Raises WorkerError.
        """
        with self._alone(context), StageExecutor(context, self._side) as executor:
            stages = context.stopped_also_by(executor.raise_if_fatal)
            return _Pass(self.models, request, voices, stages, executor).over(channels)

    def rename(
        self, transcript: Transcript, request: JobRequest, voices: Sequence[VoiceSample], context: JobContext
    ) -> Transcript:
        """Name the speakers of a stored transcript again, if the job asks for it, without audio. Raises WorkerError."""
        if not request.plan.match:
            return transcript
        with self._alone(context), StageExecutor(context, None) as executor:
            budget = GpuBudget(self.models, executor)
            return Namer(self.models, request, voices, context, budget).renamed(transcript)

    @contextlib.contextmanager
    def _alone(self, context: JobContext) -> Iterator[None]:
        """Hold the GPU lock; a stopped job leaves the queue. CUDA exceptions are raised as GpuError."""
        with self.gpu.turn(context.monitor), contextlib.ExitStack() as afterwards, gpu_faults():
            afterwards.callback(give_back_unused)
            yield


class _Pass:
    """Runs the stages of one job."""

    def __init__(
        self,
        models: Models,
        request: JobRequest,
        voices: Sequence[VoiceSample],
        context: JobContext,
        executor: StageExecutor,
    ) -> None:
        self._models = models
        self._request = request
        self._options = request.options
        self._plan = request.plan
        self._context = context
        self._record = context.record
        self._executor = executor
        self._budget = GpuBudget(models, executor)
        self._namer = Namer(models, request, voices, context, self._budget)

    def over(self, channels: Sequence[Audio]) -> Transcript:
        plan = self._plan
        duration = max(audio.seconds for audio in channels)
        self._models.import_ahead(plan, self._options.vad_method)
        recognizer = Recognizer(self._models, self._request, self._context, self._budget)
        diarization: StepFuture[Diarization] | None = None
        with self._context.stage("transcribe"):
            speech = recognizer.find_speech(channels)
            if plan.diarize and speech:
                # Submitted before recognition, because neither needs the other's result.
                spans = speech.spans
                diarization = self._executor.submit(lambda monitor: self._diarized(channels[0], spans, monitor))
            found = recognizer.recognize(channels, speech)
        language, parts = found.language, found.channels
        if plan.align:
            parts = [self._aligned(part, audio, language) for part, audio in zip(parts, channels, strict=True)]
        segments, speakers = parts[0], list[Speaker]()
        if plan.split:
            segments, speakers = self._by_channel(parts, channels)
        elif diarization is not None and segments:
            written = "en" if self._options.task == "translate" else language or "en"
            segments, speakers = self._by_speaker(segments, channels[0], written, diarization)
        return Transcript(language, round(duration, 3), tuple(segments), tuple(speakers), found.probability)

    def _aligned(self, segments: list[Segment], audio: Audio, language: str | None) -> list[Segment]:
        """Return the segments with words; unchanged if alignment fails or there is nothing to align."""
        options, models, record = self._options, self._models, self._record
        if not segments or language is None:
            return segments
        if options.interpolate_method != "nearest" and not models.parity:
            message = "interpolate_method does nothing outside parity mode: no word is left for it to fill"
            record.warn("option_ignored", "align", message)

        def work() -> tuple[list[Segment], bool]:
            if options.task == "translate" and language != "en":
                raise InvalidInput("a translation cannot be aligned: its words are not those of the recording")
            with record.timed("load"):
                aligner = models.aligner(language)
            how = options.interpolate_method, options.return_char_alignments
            return aligner.align(segments, audio, *how, self._context.monitor), aligner.sentences.lacks_tables

        clear = self._budget.clear(Stage.ALIGNMENT)
        found = self._context.attempt("align", "words have no times of their own", work, clear)
        if found is None:
            return segments
        aligned, lacks_tables = found
        if lacks_tables and (models.parity or not models.model_set.is_local):
            record.warn("sentence_rules", "align", NO_TABLES)
        place = models.model_set.aligner(language)
        record.models["align"] = place.identity if place else ""
        record.use(**{name: getattr(options, name) for name in ("interpolate_method", "return_char_alignments")})
        return aligned

    def _by_channel(self, parts: list[list[Segment]], channels: Sequence[Audio]) -> tuple[list[Segment], list[Speaker]]:
        """Merge the channels' segments in time order; each channel is one speaker, named by the job or by its voice."""
        labels = [f"CHANNEL_{n + 1}" for n in range(len(channels))]
        segments = [
            replace(s, label=label, words=tuple(replace(w, label=label) for w in s.words))
            for label, part in zip(labels, parts, strict=True)
            for s in part
        ]
        segments.sort(key=lambda s: (s.start, s.end))
        names = [clean_name(name) for name in self._options.channel_names]
        given = {label: name for label, name in zip(labels, names, strict=False) if name}
        if len(names) > len(labels):
            message = f"channel_names holds {len(names)} names, and {len(labels)} is the recording's number of channels"
            self._record.warn("option_ignored", "transcribe", f"{message}: the last names do nothing")
        spoken = {label: [(s.start, s.end) for s in part] for label, part in zip(labels, parts, strict=True)}
        matches: dict[str, Match] = {}
        if self._plan.match:
            matches, _ = self._namer.matched(
                {label: (audio, spoken[label]) for label, audio in zip(labels, channels, strict=True)}
            )
        speakers = []
        for label in labels:
            match, seconds = matches.get(label, NO_MATCH), round(sum(end - start for start, end in spoken[label]), 3)
            reason = None if label in given else match.reason
            speakers.append(Speaker(label, given.get(label) or match.name, match.score, seconds, reason))
        return segments, speakers

    def _diarized(self, audio: Audio, speech: list[Span], monitor: Monitor) -> Diarization:
        """Diarize the recording. Runs in a second thread if there is room for it."""
        options, clear = self._options, self._budget.clear_concurrent
        diarizer, _ = fitted(lambda _: self._models.diarizer(), clear=clear)
        counts = options.num_speakers, options.min_speakers, options.max_speakers
        return diarizer.diarize(audio, monitor, *counts, speech, clear)

    def _by_speaker(
        self, segments: list[Segment], audio: Audio, language: str, diarization: StepFuture[Diarization]
    ) -> tuple[list[Segment], list[Speaker]]:
        """Label words and segments with the diarizer's speakers, and name those if the job asks for it."""
        options, record = self._options, self._record

        def work() -> Diarization:
            if not diarization.concurrent:
                with record.timed("load"):
                    self._models.diarizer()
            return diarization.result()

        clear = self._budget.clear(Stage.DIARIZATION)
        found = self._context.attempt("diarize", "the speakers are not separated", work, clear, diarization.done)
        if found is None:
            return segments, []
        if diarization.seconds:
            record.use(diarized_beside_s=round(diarization.seconds, 3))
        record.models["diarize"] = self._models.model_set.diarization.identity
        record.use(**{name: getattr(options, name) for name in ("num_speakers", "min_speakers", "max_speakers")})
        turns: Sequence[Turn] = found.turns
        if self._models.parity:
            labelled = assigned_as_by_whisperx(segments, turns)
        else:
            labelled, turns = label_by_speaker(segments, found.exclusive, turns, language)
        seconds = talk_seconds(turns)
        if not seconds:
            record.warn("no_speakers", "diarize", "no speaker could be told apart: the segments have none")
        low = options.num_speakers or options.min_speakers or 0
        high = options.num_speakers or options.max_speakers or math.inf
        if not low <= len(seconds) <= high:
            message = f"{_wanted_speakers(options)} speakers were asked for and {len(seconds)} could be told apart"
            record.warn("speaker_count", "diarize", message)
        matches, voices = (
            self._namer.matched({label: (audio, spans) for label, spans in alone(turns).items()})
            if self._plan.name
            else ({}, {})
        )
        speakers = [
            Speaker(label, m.name, m.score, round(spoken, 3), m.reason, self._namer.voiceprint(voices.get(label)))
            for label, spoken in sorted(seconds.items())
            for m in [matches.get(label, NO_MATCH)]
        ]
        return labelled, speakers


def _wanted_speakers(options: JobInput) -> str:
    """Format the number of speakers, or the range, that the job asks for."""
    if options.num_speakers:
        return str(options.num_speakers)
    bounds = {"at least": options.min_speakers, "at most": options.max_speakers}
    return ", ".join(f"{words} {bound}" for words, bound in bounds.items() if bound)
