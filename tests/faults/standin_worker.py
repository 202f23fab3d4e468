"""A worker whose predictor is a stand-in: the wiring of init_and_run without models, over the SDK's own loop.

A job's `hotwords` tell the stand-in what to do: "hold transcribe" stays in that stage until the test lets it go and
asks all the while whether the job was stopped, "deaf transcribe" does not ask, "abort" dies as a native library does.
STATIONS is the folder where both sides meet: `<stage>.at` says that a job is there, `<stage>.go` lets it go.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from support.predictor import FakePredictor, Run  # noqa: E402
from support.transcripts import HELLO  # noqa: E402
from support.wiring import handler_of  # noqa: E402

from scribe import settings as settings_module  # noqa: E402
from scribe.app.environment import prepare_environment  # noqa: E402
from scribe.app.worker import storage_of  # noqa: E402
from scribe.doors.runpod_sdk import progress_sink, serve  # noqa: E402
from scribe.jobs.intake import Intake  # noqa: E402
from scribe.jobs.workspace import Workspaces  # noqa: E402
from scribe.models.model_set import ModelSet  # noqa: E402
from scribe.net.client import GuardedClient  # noqa: E402
from scribe.runtime import log as log_module  # noqa: E402
from scribe.runtime.redact import Redactor  # noqa: E402


class Orders:
    """What the predictor does instead of recognizing: it leaves a line in `<stations>/runs` and follows the job's order."""

    def __init__(self, stations: Path) -> None:
        self._stations = stations

    def __call__(self, run: Run) -> None:
        with (self._stations / "runs").open("a") as runs:
            runs.write(f"{os.getpid()}\n")
        what, _, where = (run.request.options.hotwords or "").partition(" ")
        for stage in ("transcribe", "diarize"):
            run.context.raise_if_stopped()
            run.context.progress.stage(stage)
            if what == "abort":
                os.abort()
            if stage != where:
                continue
            (self._stations / f"{stage}.at").touch()
            while not (self._stations / f"{stage}.go").exists():
                if what == "hold":
                    run.context.raise_if_stopped()
                time.sleep(0.01)


def main() -> None:
    settings = settings_module.load(None)
    prepare_environment(settings)
    redactor = Redactor()
    log_module.configure(settings.log_level, as_json=False, clean=redactor.clean)
    workspaces = Workspaces(settings.jobs_dir, settings.runpod_pod_id or "worker")
    workspaces.sweep()
    client = GuardedClient(frozenset(settings.fetch_allow_hosts))
    handler = handler_of(
        FakePredictor(HELLO, Orders(Path(os.environ["STATIONS"])), ModelSet(settings)),
        settings,
        progress_sink,
        intake=Intake(settings, client, workspaces),
        storage=storage_of(settings),
        client=client,
        redactor=redactor,
    )
    serve(handler, settings.concurrency)


if __name__ == "__main__":
    main()
