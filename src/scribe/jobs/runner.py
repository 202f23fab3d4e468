"""Run one job: parse, fetch, predict, render, upload. Independent of the platform.

The answer is always a dict that is strict JSON: a result, or a failure with a code; never a traceback, path or token.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from scribe.errors import Cancelled, DeadlineReached, GpuBroken, Internal, InvalidInput, ShuttingDown, WorkerError
from scribe.jobs.delivery import Delivery, Outbox
from scribe.jobs.inline import inline_mode, inline_warnings
from scribe.jobs.intake import Intake
from scribe.jobs.recent_answers import RecentAnswers, key_of
from scribe.jobs.rendering import Rendering, rendered
from scribe.models.loader import Models
from scribe.pipeline.context import JobContext
from scribe.pipeline.predictor import Predictor
from scribe.pipeline.progress import Event, Progress
from scribe.pipeline.record import JobRecord
from scribe.runtime.log import job_id as current_job
from scribe.runtime.machine import peak_memory_mb
from scribe.runtime.redact import Redactor
from scribe.schema.job import fingerprint
from scribe.schema.metadata import echoed
from scribe.schema.parsing import JobRequest, parse
from scribe.schema.result import Artifact, JobResult, strict
from scribe.settings import Settings
from scribe.transcript import Transcript

log = logging.getLogger(__name__)


class JobRunner:
    """Runs jobs, each in the thread that calls `run`.

    `recent` keeps answers for jobs that are handed out again; the door sweeps it, and one without a platform keeps none.
    """

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        predictor: Predictor,
        outbox: Outbox,
        redactor: Redactor,
        recent: RecentAnswers | None = None,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._predictor = predictor
        self._outbox = outbox
        self._redactor = redactor
        self._counting = threading.Lock()
        self.running = 0
        self.broken = False
        self.recent = RecentAnswers() if recent is None else recent

    @property
    def models(self) -> Models:
        """The models that the jobs use."""
        return self._predictor.models

    def run(
        self, job: Mapping[str, object], cancel: threading.Event, report: Callable[[Event], None]
    ) -> dict[str, Any]:
        """Run one job and return its result or its failure; never raises.

        `job` holds `id`, `input` and optionally `s3Config`. The job ends soon after `cancel` is set; `report` gets its
        progress events. After a GpuBroken failure `broken` is true and every further job is refused.

        A job whose answer got lost is delivered again: it gets the same answer, without progress events, because an event
        that follows the result could leave a finished job IN_PROGRESS.
        """
        current_job.set(str(job.get("id", "-"))[:64])
        began, key = time.monotonic(), key_of(job)
        if (known := self.recent.find(key)) is not None:
            log.info("answered before: the same answer again")
            return known
        with self._hidden(job), self._counted():
            try:
                answer = self._work(job, cancel, report, began)
                log.info("job done in %.1f s", time.monotonic() - began)
                return answer
            except WorkerError as error:
                answer = self._failed(job, error)
                if not cancel.is_set():
                    self.recent.keep(key, answer)
                return answer
            # A library's sys.exit would end this worker with the job unanswered, and then each worker that gets it again.
            except BaseException as error:
                message = "the worker failed in an unexpected way; its log has the details under this error_id"
                return self._failed(job, Internal(message), error)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self.running += 1
        try:
            yield
        finally:
            with self._counting:
                self.running -= 1

    @contextlib.contextmanager
    def _hidden(self, job: Mapping[str, object]) -> Iterator[None]:
        """Redact the job's own secrets in logs and answers while it runs."""
        config = job.get("s3Config")
        values = (config.get("accessId"), config.get("accessSecret")) if isinstance(config, Mapping) else ()
        secrets = [value for value in values if isinstance(value, str)]
        for secret in secrets:
            self._redactor.add(secret)
        try:
            yield
        finally:
            for secret in secrets:
                self._redactor.discard(secret)

    def _failed(
        self, job: Mapping[str, object], error: WorkerError, unexpected: BaseException | None = None
    ) -> dict[str, Any]:
        """Log a failure and return its answer, with the job's own `metadata`."""
        answer: dict[str, Any] = self._redactor.clean_value(strict(error.to_dict()))
        log.warning("job failed: %s (error_id %s)", answer["error"], answer["error_id"], exc_info=unexpected)
        self.broken = self.broken or isinstance(error, GpuBroken)
        answer |= strict(echoed(job.get("input")))
        return answer

    def _work(
        self, job: Mapping[str, object], cancel: threading.Event, report: Callable[[Event], None], began: float
    ) -> dict[str, Any]:
        if self.broken:
            raise ShuttingDown("this worker's GPU is broken and it waits to be replaced")
        request = parse(job.get("input"), self._settings.max_base64_bytes, job.get("s3Config"))
        options, plan, job_id = request.options, request.plan, str(job.get("id", "local"))
        delivery = self._outbox.delivery(
            request, job_id, fingerprint(job.get("input"), self._identities(options.model))
        )
        if (committed := delivery.recall()) is not None:
            log.info("delivered before: answered from the storage")
            return committed

        def cancelled() -> None:
            if cancel.is_set():
                raise Cancelled("the platform cancelled the job, or its execution timeout ran out")

        def stopped() -> None:
            cancelled()
            if options.deadline_s is not None and time.monotonic() - began > options.deadline_s:
                raise DeadlineReached(f"deadline_s: {options.deadline_s:g} seconds have passed")

        if self.running <= 1:
            # Import while the recording is downloaded; not while another job runs, because two threads that import one
            # package cycle can see partially initialised modules.
            self.models.import_ahead(plan, options.vad_method)
        record = JobRecord(request.warnings)
        with Progress(report, plan.stages) as progress:
            context = JobContext(progress, record, stopped, options.strict)
            with self._intake.open(request, context) as files:
                if files.stored is not None:
                    transcript = self._predictor.rename(files.stored, request, files.voices, context)
                else:
                    transcript = self._predictor.run(files.channels, request, files.voices, context)
            # From here on `deadline_s` no longer stops the job: what is finished is delivered.
            with replace(context, stopped=cancelled).stage("publish"):
                rendering = rendered(transcript, request, delivery.formats, delivery.homeless, record.warnings)
                artifacts = delivery.upload(rendering.files, record, cancelled)
        record.timings |= totals(began, transcript.duration)
        result = self._result(job_id, request, transcript, rendering, record, delivery, artifacts)
        answer = result.to_dict(self._settings.result_max_bytes)
        # When an upload failed, keep no answer: the same job sent again computes and stores it.
        if len(artifacts) == len(delivery.formats):
            if not delivery.recalls:
                self.recent.keep(key_of(job), answer)
            elif not record.partial:
                delivery.commit(answer)
        return answer

    def _identities(self, model: str | None) -> Mapping[str, str]:
        """Return name@revision of the job's models by stage. Raises InvalidInput for a model that is not allowed here."""
        model_set = self.models.model_set
        if model is not None and not model_set.allows(model):
            problem = f"is not allowed on this endpoint, which has {', '.join(model_set.allowed())}"
            raise InvalidInput(
                f"model {problem} (its ALLOWED_MODELS and its own)",
                {"problems": [{"key": "model", "problem": problem}]},
            )
        return model_set.identities(model)

    def _result(
        self,
        job_id: str,
        request: JobRequest,
        transcript: Transcript,
        rendering: Rendering,
        record: JobRecord,
        delivery: Delivery,
        artifacts: Mapping[str, Artifact],
    ) -> JobResult:
        """Build the answer. When an upload failed, it holds the whole transcript inline, as far as it fits."""
        options, stored, homeless = request.options, bool(delivery.formats), delivery.homeless
        unstored = len(artifacts) < len(delivery.formats)
        inline = inline_mode(options.inline, self._settings.inline_default, stored, homeless)
        debug = None
        if self._settings.debug if options.debug is None else options.debug:
            debug = {"options": record.options_used, "peak_memory_mb": peak_memory_mb()}
            shown = json.dumps(record.loggable)
            log.info("effective options %s, peak memory %.1f MB", shown, debug["peak_memory_mb"])
        return JobResult(
            transcript.language,
            transcript.language_probability,
            transcript.duration,
            rendering.segments,
            rendering.speakers,
            job_id=job_id,
            inline="full" if unstored else inline,
            unstored=unstored,
            text=rendering.text,
            texts=rendering.texts,
            artifacts=artifacts,
            warnings=[
                *record.warnings,
                *inline_warnings(request, inline, stored, homeless, rendering.segments),
            ],
            timings=record.timings,
            models=record.models,
            partial=record.partial,
            metadata=options.metadata,
            debug=debug,
        )


def totals(began: float, duration: float) -> dict[str, float]:
    """Return the seconds since `began`, and the real-time factor: seconds of work for a second of audio."""
    spent = time.monotonic() - began
    return {"total": spent, "real_time_factor": spent / duration if duration else 0.0}
