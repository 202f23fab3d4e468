"""The order of the stages: voice activity, recognition, alignment, diarization, naming. Keeps the GPU to one job.

Knows nothing of RunPod, addresses, storage or file formats. Recognition must succeed; the stages after it may be
skipped with a notice, unless the job is `strict`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scribe.alignment.sentences import NO_TABLES
from scribe.audio.decode import Audio
from scribe.diarization.assignment import assigned_as_by_whisperx, said_by
from scribe.diarization.diarizer import Diarization
from scribe.errors import InvalidInput
from scribe.models.cache import Stage
from scribe.models.loader import Models
from scribe.pipeline.background import BackgroundStage
from scribe.pipeline.naming import Namer
from scribe.pipeline.overlap import Overlap, SideStream
from scribe.pipeline.progress import Progress
from scribe.pipeline.recognition import recognize
from scribe.pipeline.stages import Stages
from scribe.runtime.fair_lock import FairLock
from scribe.runtime.gpu_errors import gpu_faults
from scribe.runtime.gpu_memory import give_back_unused
from scribe.runtime.out_of_memory import Clear, fitted
from scribe.schema.job import JobInput, JobWarning
from scribe.schema.speaker_sample import clean_name
from scribe.speakers.ecapa import Match, VoiceSample
from scribe.transcript import Chunk, Segment, Span, Speaker, Transcript, alone, talk_seconds


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one job's pass over the models gave.

    `timings` are seconds by stage, each second counted once: of diarization that ran beside recognition and alignment
    they hold what was waited for, and `effective` holds the seconds beside.
    """

    transcript: Transcript
    notices: tuple[JobWarning, ...]
    timings: dict[str, float]
    models: dict[str, str]
    effective: dict[str, Any] = field(default_factory=dict)
    partial: bool = False


class Predictor:
    """Runs jobs over the worker's models, one at a time and in the order in which they came (`gpu`).

    `overlap`: whether diarization runs beside recognition; never in parity mode.
    """

    def __init__(self, models: Models, overlap: Overlap = "auto") -> None:
        self.models = models
        self.gpu = FairLock()
        self._lane = None if models.parity else SideStream(models.device, overlap)

    def run(
        self,
        channels: Sequence[Audio],
        job: JobInput,
        voices: Sequence[VoiceSample],
        progress: Progress,
        check: Callable[[], None],
    ) -> Prediction:
        """One recording (its mix, or one Audio a channel) through every stage the job asks for.

        `check` raises when the job was stopped; it is called between batches and stages. Raises WorkerError.
        """
        with self._alone(check):
            stages = Stages(progress, check, job.strict)
            with BackgroundStage[Diarization](stages, self._lane) as companion:
                return _Pass(self.models, job, voices, stages, companion).over(channels)

    @contextlib.contextmanager
    def _alone(self, check: Callable[[], None]) -> Iterator[None]:
        """Hold the GPU; a stopped job does not wait for it. What the GPU says of itself becomes a GpuError."""
        with self.gpu.turn(check), contextlib.ExitStack() as afterwards, gpu_faults():
            afterwards.callback(give_back_unused)
            yield

    def rename(
        self,
        transcript: Transcript,
        job: JobInput,
        voices: Sequence[VoiceSample],
        progress: Progress,
        check: Callable[[], None],
    ) -> Prediction:
        """A stored transcript, its speakers named anew when the job asks for it: no audio, no recognition."""
        stages = Stages(progress, check, job.strict)
        namer = Namer(self.models, job, voices, stages)
        if job.speaker_verification:
            with self._alone(check):
                transcript = namer.renamed(transcript)
        return Prediction(
            transcript, tuple(stages.notices), stages.timings, namer.used, namer.effective, stages.partial
        )


class _Pass:
    """One job's way through the stages."""

    def __init__(
        self,
        models: Models,
        job: JobInput,
        voices: Sequence[VoiceSample],
        stages: Stages,
        companion: BackgroundStage[Diarization],
    ) -> None:
        self._models = models
        self._job = job
        self._stages = stages
        self._companion = companion
        self._namer = Namer(models, job, voices, stages)
        self._used: dict[str, str] = {}
        self._effective: dict[str, Any] = {}
        self._speech: list[Span] = []

    def over(self, channels: Sequence[Audio]) -> Prediction:
        job, stages = self._job, self._stages
        duration = max(audio.seconds for audio in channels)
        self._models.foresee(job)

        def clear() -> bool:
            return self._companion.wait_alone() or self._models.drop_idle(Stage.DIARIZATION)

        def speech_found(chunks: list[list[Chunk]]) -> None:
            self._speech = [span for chunk in chunks[0] for span in chunk.speech]
            # Diarization needs no transcript, and recognition no speakers.
            if job.wants_diarization and job.channels != "split":
                self._companion.begin(lambda tick: self._diarized(channels[0], tick, clear))

        found = recognize(channels, job, self._models, stages, speech_found)
        self._used["transcribe"], self._effective = found.model, dict(found.effective)
        language, heard = found.language, found.channels
        if job.align_output or job.wants_diarization:
            heard = [self._aligned(segments, audio, language) for segments, audio in zip(heard, channels, strict=True)]
        if job.channels == "split":
            segments, speakers = self._by_channel(heard, channels)
        elif job.wants_diarization:
            written = "en" if job.task == "translate" else language or "en"
            segments, speakers = self._by_speaker(heard[0], channels[0], written)
        else:
            segments, speakers = heard[0], []
        transcript = Transcript(language, round(duration, 3), tuple(segments), tuple(speakers), found.probability)
        return Prediction(
            transcript,
            tuple(stages.notices),
            stages.timings,
            self._used | self._namer.used,
            self._effective | self._namer.effective,
            stages.partial,
        )

    def _aligned(self, segments: list[Segment], audio: Audio, language: str | None) -> list[Segment]:
        """The segments with words, or unchanged when they cannot be aligned."""
        job, stages = self._job, self._stages
        if not segments or language is None:
            return segments
        if job.interpolate_method != "nearest" and not self._models.parity:
            message = "interpolate_method does nothing outside parity mode: no word is left for it to fill"
            stages.notice("option_ignored", "align", message)

        def work() -> tuple[list[Segment], bool]:
            if job.task == "translate" and language != "en":
                raise InvalidInput("a translation cannot be aligned: its words are not those of the recording")
            with stages.timed("load"):
                aligner = self._models.aligner(language)
            words = aligner.align(segments, audio, job.interpolate_method, job.return_char_alignments, stages.tick)
            return words, aligner.sentences.lacks_tables

        clear = stages.room(self._models, Stage.ALIGNMENT)
        found = stages.attempt("align", "words have no times of their own", work, clear)
        if found is None:
            return segments
        aligned, lacks_tables = found
        if lacks_tables and (self._models.parity or not self._models.places.is_local):
            stages.notice("sentence_rules", "align", NO_TABLES)
        place = self._models.places.aligner(language)
        self._used["align"] = place.identity if place else ""
        self._effective |= {name: getattr(job, name) for name in ("interpolate_method", "return_char_alignments")}
        return aligned

    def _by_channel(self, heard: list[list[Segment]], channels: Sequence[Audio]) -> tuple[list[Segment], list[Speaker]]:
        """Merge the channels in time order; each is one speaker, named by the job or by its voice."""
        labels = [f"CHANNEL_{n + 1}" for n in range(len(channels))]
        segments = [
            replace(s, label=label, words=tuple(replace(w, label=label) for w in s.words))
            for label, part in zip(labels, heard, strict=True)
            for s in part
        ]
        segments.sort(key=lambda s: (s.start, s.end))
        names = [clean_name(name) for name in self._job.channel_names]
        given = {label: name for label, name in zip(labels, names, strict=False) if name}
        if len(names) > len(labels):
            message = f"channel_names holds {len(names)} names, and {len(labels)} is the recording's number of channels"
            self._stages.notice("option_ignored", "transcribe", f"{message}: the last names do nothing")
        spoken = {label: [(s.start, s.end) for s in part] for label, part in zip(labels, heard, strict=True)}
        matches: dict[str, Match] = {}
        if self._job.speaker_verification:
            matches = self._namer.matched(
                {label: (audio, spoken[label]) for label, audio in zip(labels, channels, strict=True)}
            )[0]
        found = [
            Speaker(
                label,
                given.get(label) or (matches[label].name if label in matches else None),
                matches[label].score if label in matches else None,
                round(sum(e - s for s, e in spoken[label]), 3),
                matches[label].reason if label in matches and label not in given else None,
            )
            for label in labels
        ]
        return segments, found

    def _diarized(self, audio: Audio, tick: Callable[[float | None], None], clear: Clear) -> Diarization:
        job = self._job
        diarizer, _ = fitted(lambda _: self._models.diarizer(), clear=clear)
        counts = job.num_speakers, job.min_speakers, job.max_speakers
        return diarizer.diarize(audio, tick, *counts, self._speech, clear)

    def _by_speaker(self, segments: list[Segment], audio: Audio, language: str) -> tuple[list[Segment], list[Speaker]]:
        """Label words and segments by the diarizer's turns, and name the labels when the job asks for it."""
        job, stages = self._job, self._stages
        if not segments:
            return segments, []

        clear = stages.room(self._models, Stage.DIARIZATION)

        def work() -> Diarization:
            if (beside := self._companion.result()) is not None:
                return beside
            with stages.timed("load"):
                self._models.diarizer()
            return self._diarized(audio, stages.tick, clear)

        ready = self._companion.ready
        found = stages.attempt("diarize", "the speakers are not separated", work, clear, ready)
        if found is None:
            return segments, []
        if self._companion.seconds:
            self._effective["diarized_beside_s"] = round(self._companion.seconds, 3)
        self._used["diarize"] = self._models.places.diarization.identity
        self._effective |= {name: getattr(job, name) for name in ("num_speakers", "min_speakers", "max_speakers")}
        turns = found.turns
        if self._models.parity:
            labelled = assigned_as_by_whisperx(segments, turns)
        else:
            labelled, turns = said_by(segments, found.exclusive, turns, language)
        seconds = talk_seconds(turns)
        if not seconds:
            stages.notice("no_speakers", "diarize", "no speaker could be told apart: the segments have none")
        low, high = job.num_speakers or job.min_speakers or 0, job.num_speakers or job.max_speakers or math.inf
        if not low <= len(seconds) <= high:
            message = f"{_wanted_speakers(job)} speakers were asked for and {len(seconds)} could be told apart"
            stages.notice("speaker_count", "diarize", message)
        matches, own = (
            self._namer.matched({label: (audio, spans) for label, spans in alone(turns).items()})
            if (job.speaker_verification or job.return_speaker_embeddings)
            else ({}, {})
        )
        speakers = [
            Speaker(label, m.name, m.score, round(spoken, 3), m.reason, self._namer.voiceprint(own.get(label)))
            for label, spoken in sorted(seconds.items())
            for m in [matches.get(label, Match(None, None, None, {}))]
        ]
        return labelled, speakers


def _wanted_speakers(job: JobInput) -> str:
    """The job's number of speakers, or its range as far as it names one."""
    if job.num_speakers:
        return str(job.num_speakers)
    bounds = {"at least": job.min_speakers, "at most": job.max_speakers}
    return ", ".join(f"{words} {bound}" for words, bound in bounds.items() if bound)
