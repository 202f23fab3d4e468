"""Build a worker from the settings: models, storage, intake and job runner, without a platform."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scribe.app.environment import prepare_offline, print_mounts
from scribe.settings import Settings

# Imported by `from_settings`, because libraries read their environment variables at import.
if TYPE_CHECKING:
    from pydantic import SecretStr

    from scribe.doctor.checks import Doctor
    from scribe.jobs.runner import JobRunner
    from scribe.models.loader import Models
    from scribe.models.model_set import ModelSet
    from scribe.storage.s3 import Storage
    from scribe.storage.sources import S3Sources

log = logging.getLogger("worker")


@dataclass(frozen=True, slots=True)
class Worker:
    """A configured worker: `runner` runs its jobs. Call `prepare_environment` before creating one."""

    settings: Settings
    runner: JobRunner

    @classmethod
    def from_settings(cls, settings: Settings, own_process: bool = True) -> Worker:
        """Create the worker and load the models that WARMUP names. Raises InvalidSettings and ModelError.

        `own_process` False leaves the process' root logger and the hub's offline mode unchanged, because other code than
        the worker uses them too.
        """
        from scribe.models.model_set import ModelSet

        model_set = ModelSet(settings)
        if own_process:
            prepare_offline(model_set.is_local)

        from scribe.jobs.delivery import Outbox
        from scribe.jobs.intake import Intake
        from scribe.jobs.recent_answers import RecentAnswers
        from scribe.jobs.runner import JobRunner
        from scribe.jobs.workspace import Workspaces
        from scribe.models.loader import Models, resolve_device
        from scribe.net.client import GuardedClient
        from scribe.pipeline.predictor import Predictor
        from scribe.runtime import log as log_module
        from scribe.runtime.redact import Redactor

        redactor = Redactor(settings.secrets)
        if own_process:
            on_platform = settings.runpod_endpoint_id is not None
            log_module.configure(settings.log_level, as_json=on_platform, clean=redactor.clean)
        else:
            log_module.quiet_libraries(settings.log_level)
        if settings.print_mounts:
            print_mounts()
        token = settings.hf_token.get_secret_value() if settings.hf_token else None
        device, compute_type = settings.whisperx_device, settings.whisperx_compute_type
        half = settings.diarization_precision == "half"
        if settings.expects_gpu and resolve_device(device) == "cpu":
            compute_type = None  # a compute type of GPUs would be reported as invalid, instead of the missing GPU
        models = Models(
            model_set, device, compute_type, token, settings.vad_model_path, parity=settings.parity, half=half
        )
        if settings.expects_gpu and models.device == "cpu":
            log.error("no GPU can be used: nothing is loaded, and the fitness check will end this worker")
        else:
            models.warm(settings.warmup)
        # Outside the platform, workers that share a folder need different ids too, because each one sweeps its own workspaces.
        unique = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        workspaces = Workspaces(settings.jobs_dir, settings.runpod_pod_id or unique)
        workspaces.sweep()
        client = GuardedClient(frozenset(settings.fetch_allow_hosts))
        outbox = Outbox(storage_of(settings), client, settings.prefix_transcripts, settings.presign_ttl)
        intake = Intake(settings, client, workspaces, sources_of(settings))
        # Jobs are handed out again by platforms only.
        recent = RecentAnswers() if own_process else RecentAnswers(most=0)
        predictor = Predictor(models, settings.overlap)
        return cls(settings, JobRunner(settings, intake, predictor, outbox, redactor, recent))

    @property
    def models(self) -> Models:
        """The models that the jobs use."""
        return self.runner.models

    def fit(self) -> None:
        """Raise RuntimeError if this worker can run no job, so that the platform replaces it."""
        models = self.models
        doctor_of(self.settings, models.model_set).fit(models)

    def probe_storage(self) -> None:
        """Put, get and delete an object once, in a thread, so that a wrong key is logged before the first job's upload fails.

        A failure is only logged: jobs may name their own storage, and a transcript that cannot be stored is sent inline.
        """
        probe_storage(self.settings)


def storage_of(settings: Settings, bucket: str | None = None, **limits: Any) -> Storage | None:
    """Return the configured storage, or another bucket in it; None without STORAGE_BUCKET.

    `limits`: connect_timeout, read_timeout (seconds) and attempts, to replace Storage's defaults.
    """
    name, key, secret = settings.storage_bucket, settings.storage_access_key, settings.storage_secret_key
    return _storage(settings, bucket or name, key, secret, **limits) if name and key and secret else None


def _storage(settings: Settings, bucket: str, key: SecretStr, secret: SecretStr, **limits: Any) -> Storage:
    from scribe.storage.s3 import Storage

    return Storage(
        settings.storage_endpoint,
        bucket,
        key.get_secret_value(),
        secret.get_secret_value(),
        settings.prefix_transcripts,
        settings.presign_ttl,
        settings.storage_region,
        **limits,
    )


def probe_storage(settings: Settings) -> None:
    """Log, from a thread, whether put, get and delete work."""
    storage = storage_of(settings, connect_timeout=5.0, read_timeout=10.0, attempts=1)
    if storage is None:
        return
    from scribe.errors import StorageError

    def probe() -> None:
        try:
            storage.probe()
            log.info("storage: put, get and delete work")
        except StorageError as error:
            log.error("storage: %s: %s", error.code, error.message)

    threading.Thread(target=probe, name="storage-probe", daemon=True).start()


def sources_of(settings: Settings) -> S3Sources | None:
    """Return the s3:// sources that jobs may read with the worker's keys; None if s3:// is off."""
    key, secret = settings.storage_access_key, settings.storage_secret_key
    if not (settings.storage_source_prefixes and settings.storage_bucket and key and secret):
        return None
    from urllib.parse import urlsplit

    from scribe.net.client import GuardedClient
    from scribe.storage.sources import S3Sources

    own = {urlsplit(settings.storage_endpoint).netloc} if settings.storage_endpoint else set()
    client = GuardedClient(frozenset(settings.fetch_allow_hosts) | own)
    forbidden = f"{settings.storage_bucket}/{settings.prefix_transcripts}"
    return S3Sources(
        lambda bucket: _storage(settings, bucket, key, secret), client, settings.storage_source_prefixes, forbidden
    )


def doctor_of(settings: Settings, model_set: ModelSet) -> Doctor:
    """Return the doctor for this configuration; it loads models of its own."""
    from scribe.doctor.checks import Doctor
    from scribe.models.loader import Models

    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    device, compute_type = settings.whisperx_device, settings.whisperx_compute_type
    storage = storage_of(settings, connect_timeout=3.0, read_timeout=5.0, attempts=1)
    return Doctor(settings, lambda: Models(model_set, device, compute_type, token, settings.vad_model_path), storage)
