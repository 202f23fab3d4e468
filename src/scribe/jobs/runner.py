"""Runs one job from what was sent to its answer: parse, fetch, predict, render, upload. Knows no platform.

Whatever happens, the answer is a dict that is strict JSON: a result, or a failure with a code; never a traceback, path or
token.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scribe.errors import Cancelled, DeadlineReached, GpuBroken, Internal, InvalidInput, ShuttingDown, WorkerError
from scribe.formats import JOB_KEYS, TextOptions, inline_text, render_all
from scribe.formats import json as json_format
from scribe.jobs.delivery import Delivery, Outbox
from scribe.jobs.inline import inline_mode, inline_notices
from scribe.jobs.intake import Intake
from scribe.jobs.recent_answers import RecentAnswers, key_of
from scribe.models.loader import Models
from scribe.pipeline.predictor import Prediction, Predictor
from scribe.pipeline.progress import Event, Progress
from scribe.runtime.log import job_id as current_job
from scribe.runtime.machine import peak_memory_mb
from scribe.runtime.redact import Redactor
from scribe.schema.job import JobInput, JobWarning, fingerprint
from scribe.schema.metadata import echoed
from scribe.schema.result import JobResult, strict
from scribe.settings import Settings

log = logging.getLogger(__name__)

# Effective options that hold what is said or who speaks: for the answer, not for the log.
SPOKEN = frozenset(("initial_prompt", "hotwords", "speaker_scores"))


class JobRunner:
    """Runs jobs, each in the thread that calls `run`; everything it needs is handed to it."""

    def __init__(
        self, settings: Settings, intake: Intake, predictor: Predictor, outbox: Outbox, redactor: Redactor
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._predictor = predictor
        self._outbox = outbox
        self._redactor = redactor
        self._counting = threading.Lock()
        self.running = 0
        self.broken = False
        self.recent = RecentAnswers()

    @property
    def models(self) -> Models:
        """The models that its jobs use."""
        return self._predictor.models

    def run(self, job: Mapping[str, Any], cancel: threading.Event, report: Callable[[Event], None]) -> dict[str, Any]:
        """The result or the failure of one job; never raises.

        `job` holds `id`, `input` and perhaps `s3Config`. The job ends soon after `cancel` is set; `report` gets its
        progress. After a failure that broke the GPU `broken` is true, and every further job is refused.

        A job whose answer got lost is handed out again: it gets the same answer, without a progress event, which would
        follow the result and could leave a finished job IN_PROGRESS.
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
            # A library's sys.exit would end the worker with the job unanswered, and its redelivery the next worker.
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
    def _hidden(self, job: Mapping[str, Any]) -> Iterator[None]:
        """Keep the secrets that the job itself carries out of logs and answers while it runs."""
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
        self, job: Mapping[str, Any], error: WorkerError, unexpected: BaseException | None = None
    ) -> dict[str, Any]:
        """The failure, with the job's own metadata as it came."""
        answer: dict[str, Any] = self._redactor.clean_value(strict(error.to_dict()))
        log.warning("job failed: %s (error_id %s)", answer["error"], answer["error_id"], exc_info=unexpected)
        self.broken = self.broken or isinstance(error, GpuBroken)
        return answer | strict(echoed(job.get("input")))

    def _work(
        self, job: Mapping[str, Any], cancel: threading.Event, report: Callable[[Event], None], began: float
    ) -> dict[str, Any]:
        if self.broken:
            raise ShuttingDown("this worker's GPU is broken and it waits to be replaced")
        task = JobInput.parse(job.get("input"), self._settings.max_base64_bytes, job.get("s3Config"))

        def stopped() -> None:
            if cancel.is_set():
                raise Cancelled("the platform cancelled the job, or its execution timeout ran out")

        def check() -> None:
            stopped()
            if task.deadline_s is not None and time.monotonic() - began > task.deadline_s:
                raise DeadlineReached(f"deadline_s: {task.deadline_s:g} seconds have passed")

        places = self._predictor.models.places
        if task.model is not None and not places.allows(task.model):
            allowed = ", ".join(places.allowed())
            raise InvalidInput(
                f"model is not allowed on this endpoint, which has {allowed} (its ALLOWED_MODELS and its own)",
                {"problems": [{"key": "model", "problem": f"is not allowed on this endpoint, which has {allowed}"}]},
            )
        delivery = self._outbox.delivery(
            task, str(job.get("id", "local")), fingerprint(job.get("input"), places.identities(task.model))
        )
        if (committed := delivery.recall()) is not None:
            log.info("delivered before: answered from the storage")
            return committed
        if task.source is None and self.running <= 1:
            # While the recording is on its way; with another job at work two threads could meet in a circle of imports.
            self.models.foresee(task)
        with (
            Progress(report, planned(task)) as progress,
            self._intake.open(task, progress, check) as gathered,
        ):
            if gathered.stored is not None:
                prediction = self._predictor.rename(gathered.stored, task, gathered.voices, progress, check)
            else:
                prediction = self._predictor.run(gathered.channels, task, gathered.voices, progress, check)
            progress.stage("publish")
            result = self._published(delivery, task, prediction, gathered.notices, stopped)
        result.job_id = str(job.get("id", "local"))
        result.metadata = task.metadata
        result.notices = [*task.notices, *gathered.notices, *result.notices]
        result.timings = {**gathered.timings, **prediction.timings, **result.timings, **totals(began, result.duration)}
        answer = result.to_dict(self._settings.result_max_bytes)
        # What could not be stored is computed again, so that it is stored then.
        if len(answer["artifacts"]) == len(delivery.formats):
            if not delivery.recalls:
                self.recent.keep(key_of(job), answer)
            elif not result.partial:
                delivery.commit(answer)
        return answer

    def _published(
        self,
        delivery: Delivery,
        task: JobInput,
        prediction: Prediction,
        gathering: Sequence[JobWarning],
        stopped: Callable[[], None],
    ) -> JobResult:
        """Render, upload, and shape the answer. What could not be stored travels inline, as far as it fits."""
        began = time.monotonic()
        transcript = prediction.transcript
        words = task.align_output or task.source is not None
        shape = json_format.to_dict(transcript, words)
        # The page marks doubtful text where it stands.
        shown = (notice for notice in (*gathering, *prediction.notices) if notice.code != "suspect_text")
        warnings = tuple(notice.message for notice in shown)
        wanted = {key: getattr(task, key) for key in JOB_KEYS}
        options = TextOptions(audio_name=task.audio_file or "", warnings=warnings, **wanted)
        files = render_all(transcript, delivery.formats, options)
        if "json" in files and not words:
            # Subtitles and the page are better for the words that diarization aligned; the JSON keeps to what was asked.
            bare = replace(transcript, segments=tuple(replace(s, words=()) for s in transcript.segments))
            files |= render_all(bare, ["json"], options)
        artifacts, notices = delivery.upload(files, stopped)
        stored, homeless = bool(delivery.formats), delivery.homeless
        inline = inline_mode(task, self._settings.inline_default, stored, homeless)
        notices += inline_notices(task, inline, stored, homeless, shape["segments"])
        texts = render_all(transcript, [name for name in homeless if name != "json"], options)
        debug = task.debug if task.debug is not None else self._settings.debug
        told = {"options": prediction.effective, "peak_memory_mb": peak_memory_mb()} if debug else None
        if told is not None:
            shown = {name: value for name, value in prediction.effective.items() if name not in SPOKEN}
            log.info("effective options %s, peak memory %.1f MB", json.dumps(shown), told["peak_memory_mb"])
        unstored = len(artifacts) < len(delivery.formats)
        return JobResult(
            transcript.language,
            transcript.language_probability,
            transcript.duration,
            shape["segments"],
            shape["speakers"],
            inline="full" if unstored else inline,
            unstored=unstored,
            text=inline_text(task.inline_text, transcript, options) if task.inline_text else None,
            texts={name: data.decode() for name, data in texts.items()},
            artifacts=artifacts,
            notices=[*prediction.notices, *notices],
            timings={"publish": time.monotonic() - began},
            models=prediction.models,
            partial=prediction.partial,
            debug=told,
        )


def planned(task: JobInput) -> list[str]:
    """The stages that this job will pass, in order: what its percentage is counted over."""
    asked = {
        "transcribe": task.source is None,
        "align": task.source is None and (task.align_output or task.wants_diarization),
        "diarize": task.wants_diarization,
        "name": task.speaker_verification or (task.wants_diarization and task.return_speaker_embeddings),
    }
    return [s for s in ("fetch", "decode", "transcribe", "align", "diarize", "name", "publish") if asked.get(s, True)]


def totals(began: float, duration: float) -> dict[str, float]:
    """Seconds of the whole job, and the real-time factor: seconds of work for a second of audio."""
    spent = time.monotonic() - began
    return {"total": spent, "real_time_factor": spent / duration if duration else 0.0}
