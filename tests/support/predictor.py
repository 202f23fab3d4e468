"""A predictor without models: every job gets the same transcript."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.models.model_set import ModelSet
from scribe.pipeline.context import JobContext
from scribe.schema.parsing import JobRequest
from scribe.schema.plan import Plan
from scribe.schema.warnings import JobWarning
from scribe.transcript import Transcript
from support.demo import configured
from support.transcripts import spoken


@cache
def demo_models() -> ModelSet:
    return ModelSet(configured())


@dataclass(frozen=True, slots=True)
class Run:
    """What one job gives the predictor."""

    request: JobRequest
    context: JobContext


class FakePredictor:
    """Takes the place of the models: answers every job with `transcript`, after `work(run)`.

    transcript: `spoken(60)` when not given. options: the options used; private: those that no log may show;
    partial and warnings: what else it records.
    requests: every job that came as far as the models; paths and seconds: of every channel of each of them.
    plans: those for which imports were to begin.
    """

    def __init__(
        self,
        transcript: Transcript | None = None,
        work: Callable[[Run], object] = lambda run: None,
        model_set: ModelSet | None = None,
        options: Mapping[str, Any] = {},
        private: Mapping[str, Any] = {},
        partial: bool = False,
        warnings: Sequence[JobWarning] = (),
    ) -> None:
        self.transcript = transcript or spoken(60)
        self.work = work
        self.models = self
        self.model_set = model_set or demo_models()
        self.options, self.private, self.partial, self.warnings = options, private, partial, warnings
        self.requests: list[JobRequest] = []
        self.paths: list[Path] = []
        self.seconds: list[list[float]] = []
        self.plans: list[Plan] = []

    @property
    def runs(self) -> int:
        """How many jobs came as far as the models."""
        return len(self.requests)

    def import_ahead(self, plan: Plan, vad_method: str | None) -> None:
        self.plans.append(plan)

    def run(self, channels: Sequence[Audio], request: JobRequest, voices: object, context: JobContext) -> Transcript:
        self.requests.append(request)
        self.paths += [audio.path for audio in channels]
        self.seconds.append([len(audio[:]) / SAMPLE_RATE for audio in channels])
        self._record(context)
        self.work(Run(request, context))
        return self.transcript

    def rename(self, transcript: Transcript, request: JobRequest, voices: object, context: JobContext) -> Transcript:
        self._record(context)
        return transcript

    def _record(self, context: JobContext) -> None:
        record = context.record
        record.timings["transcribe"] = 1.0
        record.models["transcribe"] = "m@1"
        record.use(**self.options)
        record.use_private(**self.private)
        record.partial = self.partial
        for warning in self.warnings:
            record.warn(warning.code, warning.stage, warning.message)
