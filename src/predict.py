"""The order of the stages: voice activity, recognition, alignment, diarization, naming. Keeps the GPU to one job.

Knows nothing of RunPod, addresses, storage or file formats. Recognition must succeed; the stages after it may be
skipped with a notice, unless the job is `strict`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scribe.audio import Audio
from scribe.diarizer import Diarization
from scribe.engines import SpeechOptions
from scribe.errors import DeadlineReached, InvalidInput
from scribe.job import JobInput, Notice
from scribe.models import Models
from scribe.progress import Progress
from scribe.stages import Stages, gpu_failure
from scribe.transcript import Chunk, Segment, Speaker, Transcript, alone, assign_speakers, talk_seconds
from scribe.vad import SpeechDetector
from speaker_processing import Match, SpeakerEncoder, Vector, Voice, VoiceSample, centroid, match


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one job's pass over the models gave. `timings` are seconds by stage, without overlap."""

    transcript: Transcript
    notices: tuple[Notice, ...]
    timings: dict[str, float]
    models: dict[str, str]
    effective: dict[str, Any] = field(default_factory=dict)
    partial: bool = False


class Predictor:
    """Runs jobs over the worker's models, one at a time (`gpu`)."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.gpu = threading.Lock()

    def run(
        self, channels: Sequence[Audio], job: JobInput, voices: Sequence[VoiceSample], progress: Progress, check: Callable[[], None]
    ) -> Prediction:
        """One recording (its mix, or one Audio a channel) through every stage the job asks for.

        `check` raises when the job was stopped; it is called between batches and stages. Raises WorkerError.
        """
        while not self.gpu.acquire(timeout=0.2):
            check()
        try:
            return _Pass(self.models, job, voices, Stages(progress, check, job.strict)).over(channels)
        except RuntimeError as error:
            failure = gpu_failure(error)
            if failure is None:
                raise
            raise failure from error
        finally:
            self.gpu.release()


# A voice sample is short and clean: silero finds its speech without a model of the set.
SAMPLE_VAD = {"vad_onset": 0.5, "vad_offset": 0.35, "chunk_size": 30}


class _Pass:
    """One job's way through the stages."""

    def __init__(self, models: Models, job: JobInput, voices: Sequence[VoiceSample], stages: Stages) -> None:
        self._models = models
        self._job = job
        self._voices = voices
        self._stages = stages
        self._used: dict[str, str] = {}
        self._effective: dict[str, Any] = {}

    def over(self, channels: Sequence[Audio]) -> Prediction:
        job, stages = self._job, self._stages
        duration = max(audio.seconds for audio in channels)
        language, probability, heard = self._recognized(channels)
        if job.align_output or job.wants_diarization:
            heard = [self._aligned(segments, audio, language) for segments, audio in zip(heard, channels, strict=True)]
        if job.channels == "split":
            segments, speakers = self._by_channel(heard, channels)
        elif job.wants_diarization:
            segments, speakers = self._by_speaker(heard[0], channels[0])
        else:
            segments, speakers = heard[0], []
        transcript = Transcript(language, round(duration, 3), tuple(segments), tuple(speakers), probability)
        return Prediction(transcript, tuple(stages.notices), stages.timings, self._used, self._effective, stages.partial)

    def _recognized(self, channels: Sequence[Audio]) -> tuple[str | None, float | None, list[list[Segment]]]:
        """(language, its probability when it was detected, segments by channel)."""
        job, places, stages = self._job, self._models.places, self._stages
        place = places.speech(job.model)
        options = SpeechOptions(
            task=job.task, batch_size=job.batch_size or (16 if self._models.device == "cuda" else 4), beam_size=job.beam,
            patience=job.patience, length_penalty=job.length_penalty, repetition_penalty=job.repetition_penalty,
            no_repeat_ngram_size=job.no_repeat_ngram_size, initial_prompt=job.initial_prompt, hotwords=job.hotwords,
            suppress_numerals=job.suppress_numerals,
        )
        vad = {
            "vad_method": job.vad_method or places.vad_method,
            "vad_onset": job.vad_onset or places.vad_onset,
            "vad_offset": job.vad_offset or places.vad_offset,
            "chunk_size": job.chunk_size or places.chunk_size,
        }
        self._used["transcribe"] = place.identity
        with stages.enter("transcribe"):
            with stages.timed("load"):
                detector, engine = self._models.detector(vad["vad_method"]), self._models.engine(place)
            with stages.timed("vad"):
                chunks = [self._speech(detector, audio, vad) for audio in channels]
            language, probability = job.language, None
            voiced = next(((a, c) for a, c in zip(channels, chunks, strict=True) if c), None)
            if voiced is None:
                stages.notice("no_speech", "transcribe", "no speech was found in the recording")
                return language, probability, [[] for _ in channels]
            if language is None:
                language, probability = engine.detect_language(
                    *voiced, job.language_detection_max_tries, job.language_detection_min_prob, stages.tick)
            heard: list[list[Segment]] = [[] for _ in channels]
            batch = options.batch_size
            try:
                for number, (audio, found) in enumerate(zip(channels, chunks, strict=True)):
                    batch = engine.transcribe(audio, found, language, replace(options, batch_size=batch), heard[number].append,
                                              stages.share(number, len(channels)))
            except DeadlineReached as error:
                if not any(heard):
                    raise
                stages.partial = True
                stages.notice(error.code, "transcribe", f"{error.message}: the rest of the recording is not transcribed")
        if batch < options.batch_size:
            stages.notice("batch_reduced", "transcribe", f"batches of {options.batch_size} did not fit into memory; {batch} did")
        self._effective |= vad | {"language": language, "beam_size": options.beam_size, "batch_size": batch, "model": place.name,
                                  "device": self._models.device, "compute_type": self._models.compute_type}
        return language, probability, heard

    def _speech(self, detector: SpeechDetector, audio: Audio, vad: dict[str, Any]) -> list[Chunk]:
        self._stages.tick(None)
        return detector.chunks(audio, vad["vad_onset"], vad["vad_offset"], vad["chunk_size"])

    def _aligned(self, segments: list[Segment], audio: Audio, language: str | None) -> list[Segment]:
        """The segments with words, or as they are when alignment is not to be had."""
        job, stages = self._job, self._stages
        if not segments or language is None:
            return segments

        def work() -> list[Segment]:
            with stages.timed("load"):
                aligner = self._models.aligner(language)
            return aligner.align(segments, audio, job.interpolate_method, job.return_char_alignments, stages.tick)

        aligned = stages.attempt("align", "words have no times of their own", work)
        if aligned is None:
            return segments
        place = self._models.places.aligner(language)
        self._used["align"] = place.identity if place else f"whisperx:{language}"
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
        given = dict(zip(labels, self._job.channel_names, strict=False))
        spoken = {label: [(s.start, s.end) for s in part] for label, part in zip(labels, heard, strict=True)}
        matches: dict[str, Match] = {}
        if self._job.speaker_verification:
            matches = self._named({label: (audio, spoken[label]) for label, audio in zip(labels, channels, strict=True)})[0]
        found = [
            Speaker(label, given.get(label) or (matches[label].name if label in matches else None),
                    matches[label].score if label in matches else None, round(sum(e - s for s, e in spoken[label]), 3),
                    matches[label].reason if label in matches and label not in given else None)
            for label in labels
        ]
        return segments, found

    def _by_speaker(self, segments: list[Segment], audio: Audio) -> tuple[list[Segment], list[Speaker]]:
        """Label words and segments by the diarizer's turns, and name the labels when the job asks for it."""
        job, stages = self._job, self._stages
        if not segments:
            return segments, []

        def work() -> Diarization:
            with stages.timed("load"):
                diarizer = self._models.diarizer()
            return diarizer.diarize(audio, stages.tick, job.num_speakers, job.min_speakers, job.max_speakers)

        found = stages.attempt("diarize", "the speakers are not separated", work)
        if found is None:
            return segments, []
        self._used["diarize"] = self._models.places.diarization.identity
        seconds = talk_seconds(found.turns)
        if job.num_speakers and len(seconds) != job.num_speakers:
            stages.notice("speaker_count", "diarize", f"{job.num_speakers} speakers were asked for and {len(seconds)} could be told apart")
        matches, own = self._named({label: (audio, spans) for label, spans in alone(found.turns).items()}) if (
            job.speaker_verification or job.return_speaker_embeddings) else ({}, {})
        speakers = [
            Speaker(label, m.name if m else None, m.score if m else None, round(spoken, 3), m.reason if m else None,
                    own[label].vector if job.return_speaker_embeddings and own.get(label) else None)
            for label, spoken in sorted(seconds.items())
            for m in [matches.get(label)]
        ]
        return assign_speakers(segments, found.exclusive), speakers

    def _named(self, speech: dict[str, tuple[Audio, list[Any]]]) -> tuple[dict[str, Match], dict[str, Voice | None]]:
        """(matches by label, voices by label), both empty when naming is not to be had."""
        stages, model = self._stages, self._models.places.speaker

        def work() -> tuple[dict[str, Match], dict[str, Voice | None]]:
            with stages.timed("load"):
                encoder = self._models.encoder()
            own = {label: encoder.voice(audio, spans, stages.check) for label, (audio, spans) in speech.items()}
            threshold = self._job.speaker_threshold if self._job.speaker_threshold is not None else model.threshold
            return match(own, self._enrolled(encoder), threshold, model.margin, model.min_seconds), own

        found = stages.attempt("name", "the speakers keep their labels", work)
        if found is None:
            return {}, {}
        self._used["name"] = model.location.identity
        return found if self._job.speaker_verification else ({}, found[1])

    def _enrolled(self, encoder: SpeakerEncoder) -> dict[str, Vector]:
        """One centroid a name; several samples of a name are pooled by their seconds of speech."""
        pooled: dict[str, list[Voice]] = {}
        for sample in self._voices:
            self._stages.check()
            if sample.audio is None:
                if sample.model != encoder.identity:
                    raise InvalidInput(f"the embedding of '{sample.name}' was made by another speaker model: send a recording instead",
                                       {"name": sample.name, "model": encoder.identity})
                voice: Voice | None = Voice(sample.vector, 1.0)
            else:
                chunks = self._speech(self._models.detector("silero"), sample.audio, SAMPLE_VAD)
                voice = encoder.enrolled(sample.audio, [span for chunk in chunks for span in chunk.speech])
            if voice is None:
                self._stages.notice("sample_without_speech", "name", f"the sample of '{sample.name}' holds too little speech")
            else:
                pooled.setdefault(sample.name, []).append(voice)
        return {name: centroid([v.vector for v in voices], [v.seconds for v in voices]) for name, voices in pooled.items()}
