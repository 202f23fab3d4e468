"""Name speakers: enrol the job's voice samples and match them to a recording's or a stored transcript's speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scribe.audio.decode import Audio
from scribe.errors import InvalidInput
from scribe.models.cache import Stage
from scribe.models.loader import Models
from scribe.pipeline.context import JobContext
from scribe.pipeline.gpu_budget import GpuBudget
from scribe.schema.parsing import JobRequest
from scribe.speakers.ecapa import Match, SpeakerEncoder, Vector, Voice, VoiceSample, centroid, match, unit
from scribe.transcript import Span, Transcript, Voiceprint

Voices = dict[str, Voice | None]


class Namer:
    """Names the speakers of one job. Records the cosine of each label with each name as `speaker_scores`."""

    def __init__(
        self,
        models: Models,
        request: JobRequest,
        voices: Sequence[VoiceSample],
        context: JobContext,
        budget: GpuBudget,
    ) -> None:
        self._models = models
        self._options = request.options
        self._plan = request.plan
        self._voices = voices
        self._context = context
        self._clear = budget.clear(Stage.NAMING, Stage.VOICE_ACTIVITY)

    def matched(self, speech: Mapping[str, tuple[Audio, Sequence[Span]]]) -> tuple[dict[str, Match], Voices]:
        """Return (matches by label, voices by label), computed from each label's `speech`; both empty if the stage failed."""

        def work() -> tuple[dict[str, Match], Voices]:
            encoder = self._encoder()
            own = {
                label: encoder.voice(audio, spans, self._context.monitor) for label, (audio, spans) in speech.items()
            }
            return self._matches(own, encoder) if self._plan.match else {}, own

        return self._context.attempt("name", "the speakers keep their labels", work, self._clear) or ({}, {})

    def renamed(self, transcript: Transcript) -> Transcript:
        """Return a stored transcript with its speakers named again, from the embeddings in it. Fails without them."""

        def work() -> Transcript:
            encoder = self._encoder()
            prints = {s.label: s.embedding for s in transcript.speakers}
            if not any(prints.values()):
                raise InvalidInput(
                    "the stored transcript holds no speaker embeddings: make it with return_speaker_embeddings"
                )
            if any(p is not None and p.model != encoder.identity for p in prints.values()):
                raise InvalidInput("the stored transcript's embeddings were made by another speaker model")
            own = {label: Voice(unit(p.vector), p.seconds) if p else None for label, p in prints.items()}
            found = self._matches(own, encoder)
            named = (
                replace(s, name=m.name, score=m.score, reason=m.reason)
                for s in transcript.speakers
                for m in [found[s.label]]
            )
            return replace(transcript, speakers=tuple(named))

        return self._context.attempt("name", "the speakers keep their names", work, self._clear) or transcript

    def voiceprint(self, voice: Voice | None) -> Voiceprint | None:
        """Return the speaker embedding for the answer, if the job asks for it."""
        if voice is None or not self._plan.embed:
            return None
        return Voiceprint(self._context.record.models["name"], round(voice.seconds, 3), voice.vector)

    def _encoder(self) -> SpeakerEncoder:
        with self._context.record.timed("load"):
            encoder = self._models.encoder()
        self._context.record.models["name"] = encoder.identity
        return encoder

    def _matches(self, own: Voices, encoder: SpeakerEncoder) -> dict[str, Match]:
        model, record = self._models.model_set.speaker, self._context.record
        threshold = model.threshold if self._options.speaker_threshold is None else self._options.speaker_threshold
        margin = model.margin if self._options.speaker_margin is None else self._options.speaker_margin
        dimension = next((len(voice.vector) for voice in own.values() if voice), None)
        enrolled = self._enrolled(encoder, dimension)
        found = match(own, enrolled, threshold, margin, model.min_seconds)
        if enrolled and not model.calibrated:
            record.warn(
                "speaker_uncalibrated",
                "name",
                f"the threshold of {threshold:g} was not measured on this speaker model, so names may be wrong or missing: "
                "run builder/calibrate.py (make calibrate) on known voices and set SPEAKER_THRESHOLD and SPEAKER_MARGIN",
            )
        calibrated = model.calibrated and self._options.speaker_threshold is None
        record.use(speaker_threshold=threshold, speaker_margin=margin, speaker_calibrated=calibrated)
        record.use_private(speaker_scores={label: dict(m.scores) for label, m in found.items()})
        return found

    def _enrolled(self, encoder: SpeakerEncoder, dimension: int | None) -> dict[str, Vector]:
        """Return a centroid for each name; several samples of a name are weighted by their seconds of speech.

        `dimension` is that of the voices to compare with, None when there are none. An embedding that cannot be compared
        is left out with a warning, or raises InvalidInput if the job is `strict`.
        """
        pooled: dict[str, list[Voice]] = {}
        for sample in self._voices:
            self._context.raise_if_stopped()
            if problem := _mismatch(sample, encoder.identity, dimension):
                if self._options.strict:
                    raise InvalidInput(
                        problem, {"key": "speaker_samples", "name": sample.name, "model": encoder.identity}
                    )
                self._context.record.warn("sample_unusable", "name", problem)
                continue
            voice = self._of_sample(sample, encoder)
            if voice is None:
                self._context.record.warn(
                    "sample_without_speech", "name", f"the sample of '{sample.name}' holds too little speech"
                )
            else:
                pooled.setdefault(sample.name, []).append(voice)
        return {
            name: centroid([v.vector for v in voices], [v.seconds for v in voices]) for name, voices in pooled.items()
        }

    def _of_sample(self, sample: VoiceSample, encoder: SpeakerEncoder) -> Voice | None:
        if sample.audio is not None:
            audio = sample.audio

            def speech() -> list[Span]:
                # silero needs no model of the set, and suffices for a short, clean sample.
                chunks = self._models.detector("silero").chunks(audio, onset=0.5, offset=0.35, chunk_size=30)
                return [span for chunk in chunks for span in chunk.speech]

            return encoder.enrolled(audio, speech)
        return Voice(unit(sample.vector), sample.seconds)


def _mismatch(sample: VoiceSample, identity: str, dimension: int | None) -> str | None:
    """Return why a sample's embedding cannot be compared with this model's; None if it can, or is a recording."""
    if sample.audio is not None or (
        sample.model == identity and len(sample.vector) == (dimension or len(sample.vector))
    ):
        return None
    made = "by another speaker model" if sample.model != identity else "with another dimension"
    return f"the embedding of '{sample.name}' was made {made}: send a recording instead"
