"""The RunPod door: the SDK's job -> JobRunner -> the answer that the SDK posts.

The handler is async and runs each job in a thread, so that the SDK's event loop keeps reading stop signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scribe.doors.runpod_sdk import progress_sink
from scribe.jobs import recent_answers
from scribe.jobs.runner import JobRunner
from scribe.models.loader import Models
from scribe.pipeline.progress import Event


@dataclass(frozen=True, slots=True)
class _Run:
    """A running job: its input, its stop signal and the future of its answer."""

    given: object
    stop: threading.Event
    work: asyncio.Future[dict[str, Any]]


class Handler:
    """Runs RunPod's jobs with `runner`; `report(job)` returns the function that sends that job's progress events."""

    def __init__(
        self, runner: JobRunner, report: Callable[[Mapping[str, object]], Callable[[Event], None]] = progress_sink
    ) -> None:
        self.runner = runner
        self._report = report
        self._runs: dict[str, _Run] = {}

    @property
    def models(self) -> Models:
        """The models that the jobs use."""
        return self.runner.models

    async def __call__(self, job: Mapping[str, object]) -> dict[str, Any]:
        """Run one job and return its answer. A cancelled job keeps its slot until its thread ends: it may still use the GPU.

        A job that the platform delivers again while it runs waits for the same run. Cancelling either stops both, because
        the platform cancels by id.
        """
        job_id, given = str(job.get("id")), job.get("input")
        run = self._runs.get(job_id)
        if run is None or run.given != given:
            stop = threading.Event()
            run = _Run(given, stop, asyncio.ensure_future(asyncio.to_thread(self._answer, job, stop)))
            self._runs[job_id] = run
        try:
            # The SDK removes `error` from the dict that it gets, so each caller gets a copy.
            return dict(await asyncio.shield(run.work))
        except asyncio.CancelledError:
            run.stop.set()
            while not run.work.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([run.work])
            raise
        finally:
            asyncio.get_running_loop().call_later(recent_answers.SECONDS, self.runner.recent.sweep)
            if run.work.done() and self._runs.get(job_id) is run:
                del self._runs[job_id]

    def _answer(self, job: Mapping[str, object], stop: threading.Event) -> dict[str, Any]:
        """Run the job in this thread; after a GPU failure, add `refresh_worker` to the answer."""
        answer = self.runner.run(job, stop, self._report(job))
        # `refresh_worker` makes the platform replace the pod. Jobs that still arrive until then are refused by the runner.
        return answer | ({"refresh_worker": True} if self.runner.broken and "error" in answer else {})
