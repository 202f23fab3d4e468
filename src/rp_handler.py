"""The RunPod door: the SDK's job -> JobRunner -> the answer that the SDK posts.

The handler is async and has the work done in a thread, so that the SDK's loop goes on reading stop signals.
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
    """A job at work: its input, its stop signal, its answer to be."""

    given: object
    stop: threading.Event
    work: asyncio.Future[dict[str, Any]]


class Handler:
    """Answers RunPod's jobs by `runner`; `report(job)` gives the sink of that job's progress."""

    def __init__(
        self, runner: JobRunner, report: Callable[[Mapping[str, object]], Callable[[Event], None]] = progress_sink
    ) -> None:
        self.runner = runner
        self._report = report
        self._runs: dict[str, _Run] = {}

    @property
    def models(self) -> Models:
        """The models that its jobs use."""
        return self.runner.models

    async def __call__(self, job: Mapping[str, object]) -> dict[str, Any]:
        """Answer one job. A cancelled job keeps its slot until its thread has left the GPU: the next must not meet it there.

        A job that is handed out again while it runs shares the run, and its stop: the platform cancels by id.
        """
        job_id, given = str(job.get("id")), job.get("input")
        run = self._runs.get(job_id)
        if run is None or run.given != given:
            stop = threading.Event()
            run = _Run(given, stop, asyncio.ensure_future(asyncio.to_thread(self._answer, job, stop)))
            self._runs[job_id] = run
        try:
            # A copy for each: the SDK takes `error` out of what it gets.
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
        """The runner's answer, ready to be posted."""
        answer = self.runner.run(job, stop, self._report(job))
        # The SDK stops the pod after this answer, and hands out jobs until the platform has: the runner refuses them.
        return answer | ({"refresh_worker": True} if self.runner.broken and "error" in answer else {})
