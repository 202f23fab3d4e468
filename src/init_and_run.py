"""The worker's entry: environment, logging, cache folders, warm models, the RunPod loop. Knows everything, does nothing.

Exit codes: 0 stopped by the platform, 1 a model that the configuration needs cannot be loaded, 78 invalid settings.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

from scribe import settings as settings_module
from scribe.settings import InvalidSettings, Settings

log = logging.getLogger("worker")

EXIT_MODEL = 1
EXIT_CONFIG = 78


def prepare_environment(settings: Settings) -> None:
    """Set what libraries read at import, and make the folders that they expect to exist."""
    os.environ["RUNPOD_LOG_LEVEL"] = "INFO"  # at DEBUG the SDK logs every transcript and every presigned address
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime 1.31 keeps a device id and a database in the home folder
    os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())  # matplotlib insists on a folder that it may write to
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # torchcodec looks for FFmpeg's libraries, which decoding here does not use, and fills the log when it finds none.
    warnings.filterwarnings("ignore", module=r"(pyannote|speechbrain|torchaudio|torchcodec|lightning)(\..*)?")
    folders = {
        "HF_HOME": settings.hf_home,
        "HUGGINGFACE_HUB_CACHE": settings.huggingface_hub_cache,
        "TRANSFORMERS_CACHE": settings.transformers_cache,
        "TORCH_HOME": settings.torch_home,
        "TMPDIR": settings.tmpdir,
        "JOBS_DIR": settings.jobs_dir,
    }
    for name, folder in folders.items():
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidSettings(f"{name}: {folder} cannot be made ({error.strerror})") from None
        os.environ[name] = str(folder)
    # Remembered since the first question for it, when TMPDIR may not have been there yet.
    tempfile.tempdir = None


def prepare_offline(local: bool) -> None:
    """With every configured model on this machine the hub is switched off, so that its absence changes nothing."""
    if local:
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["TRANSFORMERS_OFFLINE"] = "1"


def print_mounts() -> None:
    """Free space of what the worker may write to."""
    import shutil

    for folder in ("/", "/tmp", "/runpod-volume"):
        if Path(folder).is_dir():
            usage = shutil.disk_usage(folder)
            log.info("mount %s: %.1f GB free of %.1f GB", folder, usage.free / 1e9, usage.total / 1e9)


def build(settings: Settings):  # noqa: ANN201 (a Handler, imported after the environment is set)
    """Wire the rooms together and load what WARMUP names. Raises InvalidSettings and ModelError."""
    from scribe.weights import ModelSet

    places = ModelSet(settings)
    prepare_offline(places.is_local)
    os.environ.setdefault("NLTK_DATA", str(places.nltk_data))

    from predict import Predictor
    from rp_handler import Handler
    from scribe import log as log_module
    from scribe.delivery import Outbox
    from scribe.intake import Intake
    from scribe.models import Models
    from scribe.net import GuardedClient
    from scribe.redact import Redactor
    from scribe.workspace import Workspaces

    redactor = Redactor()
    for secret in settings.secrets:
        redactor.add(secret)
    log_module.configure(settings.log_level, as_json=settings.runpod_endpoint_id is not None, clean=redactor.clean)
    if settings.print_mounts:
        print_mounts()
    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    models = Models(places, settings.whisperx_device, settings.whisperx_compute_type, token, settings.vad_model_path)
    models.warm(settings.warmup)
    # Off the platform two workers may share a folder too, and each must only ever sweep its own.
    workspaces = Workspaces(settings.jobs_dir, settings.runpod_pod_id or f"{os.uname().nodename}-{os.getpid()}")
    workspaces.sweep()
    client = GuardedClient(frozenset(settings.fetch_allow_hosts))
    outbox = Outbox(storage_of(settings), client, settings.prefix_transcripts, settings.presign_ttl)
    intake = Intake(settings, client, workspaces, sources_of(settings))
    return Handler(settings, intake, Predictor(models), outbox, redactor)


def storage_of(settings: Settings, bucket: str | None = None):  # noqa: ANN201 (a Storage, or None without STORAGE_BUCKET)
    """The worker's storage as the settings name it, or another bucket there."""
    if not (settings.storage_bucket and settings.storage_access_key and settings.storage_secret_key):
        return None
    from scribe.storage import Storage

    return Storage(
        settings.storage_endpoint,
        bucket or settings.storage_bucket,
        settings.storage_access_key.get_secret_value(),
        settings.storage_secret_key.get_secret_value(),
        settings.prefix_transcripts,
        settings.presign_ttl,
    )


def sources_of(settings: Settings):  # noqa: ANN201 (an S3Sources, or None where s3:// is off)
    """What jobs may read by s3:// with the worker's keys."""
    if not (settings.storage_source_prefixes and settings.storage_configured):
        return None
    from urllib.parse import urlsplit

    from scribe.net import GuardedClient
    from scribe.s3source import S3Sources

    own = {urlsplit(settings.storage_endpoint).netloc} if settings.storage_endpoint else set()
    client = GuardedClient(frozenset(settings.fetch_allow_hosts) | own)
    forbidden = f"{settings.storage_bucket}/{settings.prefix_transcripts}"
    return S3Sources(lambda bucket: storage_of(settings, bucket), client, settings.storage_source_prefixes, forbidden)


def main() -> int:
    """Start the worker. Returns only when it cannot start."""
    try:
        settings = settings_module.load()
        prepare_environment(settings)
        handler = build(settings)
    except InvalidSettings as error:
        print(f"The worker cannot start. Correct these variables:\n{error}", file=sys.stderr)
        return EXIT_CONFIG
    except Exception as error:
        from scribe.errors import ModelError

        if not isinstance(error, ModelError):
            raise
        log.error("the worker cannot start: %s: %s", error.code, error.message)
        return EXIT_MODEL
    from scribe.platform import serve

    log.info("ready")
    serve(handler, settings.concurrency)
    return 0


if __name__ == "__main__":
    sys.exit(main())
