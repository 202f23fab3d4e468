"""A worker whose predictor is a stand-in: the wiring of init_and_run without models, over the SDK's own loop.

A job's `hotwords` tell the stand-in what to do: "hold transcribe" stays in that stage until the test lets it go and
asks all the while whether the job was stopped, "deaf transcribe" does not ask, "abort" dies as a native library does.
STATIONS is the folder where both sides meet: `<stage>.at` says that a job is there, `<stage>.go` lets it go.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import init_and_run
from rp_handler import Handler
from scribe import settings as settings_module
from scribe.audio.decode import Audio
from scribe.doors.runpod_sdk import serve
from scribe.jobs.delivery import Outbox
from scribe.jobs.intake import Intake
from scribe.jobs.runner import JobRunner
from scribe.jobs.workspace import Workspaces
from scribe.models.model_set import ModelSet
from scribe.net.client import GuardedClient
from scribe.pipeline.predictor import Prediction
from scribe.pipeline.progress import Progress
from scribe.runtime import log as log_module
from scribe.runtime.redact import Redactor
from scribe.schema.job import JobInput
from scribe.transcript import Segment, Transcript


class PredictorStandIn:
    """In place of the models. Hears one sentence in everything; every run leaves a line in `<stations>/runs`."""

    def __init__(self, stations: Path, places: ModelSet) -> None:
        self._stations = stations
        self.models = self
        self.places = places

    def foresee(self, job: JobInput) -> None:
        """It imports nothing."""

    def run(
        self, channels: Sequence[Audio], job: JobInput, voices: Any, progress: Progress, check: Callable[[], None]
    ) -> Prediction:
        with (self._stations / "runs").open("a") as runs:
            runs.write(f"{os.getpid()}\n")
        what, _, where = (job.hotwords or "").partition(" ")
        for stage in ("transcribe", "diarize"):
            check()
            progress.stage(stage)
            if what == "abort":
                os.abort()
            if stage == where:
                self._stay(stage, check if what == "hold" else lambda: None)
        seconds = channels[0].seconds
        transcript = Transcript("en", seconds, (Segment(0.0, seconds, "Hello there."),), (), 0.9)
        return Prediction(transcript, (), {"transcribe": 0.1}, {"transcribe": "stand-in@1"})

    def _stay(self, stage: str, check: Callable[[], None]) -> None:
        (self._stations / f"{stage}.at").touch()
        while not (self._stations / f"{stage}.go").exists():
            check()
            time.sleep(0.01)


def main() -> None:
    settings = settings_module.load(None)
    init_and_run.prepare_environment(settings)
    redactor = Redactor()
    log_module.configure(settings.log_level, as_json=False, clean=redactor.clean)
    workspaces = Workspaces(settings.jobs_dir, settings.runpod_pod_id or "worker")
    workspaces.sweep()
    client = GuardedClient(frozenset(settings.fetch_allow_hosts))
    predictor = PredictorStandIn(Path(os.environ["STATIONS"]), ModelSet(settings))
    outbox = Outbox(init_and_run.storage_of(settings), client, settings.prefix_transcripts, settings.presign_ttl)
    intake = Intake(settings, client, workspaces)
    runner = JobRunner(settings, intake, predictor, outbox, redactor)  # type: ignore[arg-type]
    serve(Handler(runner), settings.concurrency)


if __name__ == "__main__":
    main()
