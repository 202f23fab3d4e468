"""A predictor without models: every job gets the same prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.models.model_set import ModelSet
from scribe.pipeline.predictor import Prediction
from scribe.pipeline.progress import Progress
from scribe.schema.job import JobInput
from scribe.transcript import Transcript
from support.demo import configured
from support.transcripts import spoken


@cache
def demo_places() -> ModelSet:
    return ModelSet(configured())


@dataclass(frozen=True, slots=True)
class Run:
    """What one job gives the predictor."""

    job: JobInput
    progress: Progress
    check: Callable[[], None]


class FakePredictor:
    """Takes the place of the models: answers every job with `prediction`, after `work(run)`.

    transcript: `spoken(60)` when not given. fields: the other fields of Prediction.
    jobs: every job that came as far as the models; paths and seconds: of every channel of each of them.
    foreseen: the addresses for which imports were to begin.
    """

    def __init__(
        self,
        transcript: Transcript | None = None,
        work: Callable[[Run], object] = lambda run: None,
        places: ModelSet | None = None,
        **fields: Any,
    ) -> None:
        defaults = {"notices": (), "timings": {"transcribe": 1.0}, "models": {"transcribe": "m@1"}}
        self.prediction = Prediction(transcript or spoken(60), **{**defaults, **fields})
        self.work = work
        self.models = self
        self.places = places or demo_places()
        self.jobs: list[JobInput] = []
        self.paths: list[Path] = []
        self.seconds: list[list[float]] = []
        self.foreseen: list[str | None] = []

    @property
    def runs(self) -> int:
        """How many jobs came as far as the models."""
        return len(self.jobs)

    def foresee(self, job: JobInput) -> None:
        self.foreseen.append(job.audio_file)

    def run(
        self, channels: Sequence[Audio], job: JobInput, voices: Any, progress: Progress, check: Callable[[], None]
    ) -> Prediction:
        self.jobs.append(job)
        self.paths += [audio.path for audio in channels]
        self.seconds.append([len(audio[:]) / SAMPLE_RATE for audio in channels])
        self.work(Run(job, progress, check))
        return self.prediction

    def rename(self, transcript: Transcript, *_: object) -> Prediction:
        return replace(self.prediction, transcript=transcript)
