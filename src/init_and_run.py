"""The worker's entry: environment, logging, cache folders, warm models, the RunPod loop. Knows everything, does nothing.

    python3 src/init_and_run.py                    the worker
    python3 src/init_and_run.py --check [--json]   what works on this machine, what does not and what to do about it

Exit codes: 0 stopped by the platform, or all that the configuration needs works; 1 a model or something else that it
needs cannot be had; 2 an unknown flag; 78 invalid settings.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

from scribe import settings as settings_module
from scribe.runtime.threads import prepare_threads
from scribe.settings import InvalidSettings, Settings

log = logging.getLogger("worker")

EXIT_MODEL = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78


def prepare_environment(settings: Settings) -> None:
    """Set what libraries read at import, and make the folders that they expect to exist."""
    os.environ["RUNPOD_LOG_LEVEL"] = "INFO"  # at DEBUG the SDK logs every transcript and every presigned address
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a bar in a log is a line a second
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime 1.31 keeps a device id and a database in the home folder
    os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())  # matplotlib insists on a folder that it may write to
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Of the SDK's own checks the one of the GPU stays. The others end a worker for a busy host, a disk that the image fills
    # or a firewall before 8.8.8.8; the doctor asks what this worker needs.
    os.environ.setdefault("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true")
    prepare_threads(os.environ)
    # Else transformers starts a thread that asks the hub to convert a model which has no safetensors, and outlives its job.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "true"
    # torchcodec looks for FFmpeg's libraries, which decoding here does not use, and fills the log when it finds none.
    warnings.filterwarnings("ignore", module=r"(pyannote|speechbrain|torchaudio|torchcodec|lightning)(\..*)?")
    folders = {
        "HF_HOME": settings.hf_home,
        "HF_HUB_CACHE": settings.hf_hub_cache or settings.huggingface_hub_cache,
        "HUGGINGFACE_HUB_CACHE": settings.hf_hub_cache or settings.huggingface_hub_cache,
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
    keep_kernels(settings)
    # Remembered since the first question for it, when TMPDIR may not have been there yet.
    tempfile.tempdir = None


def keep_kernels(settings: Settings) -> None:
    """Let the GPU's driver keep what it compiles as long as the models are kept.

    CTranslate2 holds no code for GPUs newer than Ada (accelerator.py): the driver compiles it, and by default keeps it in
    the container, where it is gone at the next cold start. The driver reads both when CUDA begins.
    """
    folder = settings.kernel_cache
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if settings.cuda_cache_path is not None or (folder.is_dir() and os.access(folder, os.W_OK)):
        os.environ["CUDA_CACHE_PATH"] = str(folder)
        os.environ.setdefault("CUDA_CACHE_MAXSIZE", str(1024**3))


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
    from scribe.models.model_set import ModelSet

    model_set = ModelSet(settings)
    prepare_offline(model_set.is_local)

    from rp_handler import Handler
    from scribe.jobs.delivery import Outbox
    from scribe.jobs.intake import Intake
    from scribe.jobs.runner import JobRunner
    from scribe.jobs.workspace import Workspaces
    from scribe.models.loader import Models, resolve_device
    from scribe.net.client import GuardedClient
    from scribe.pipeline.predictor import Predictor
    from scribe.runtime import log as log_module
    from scribe.runtime.redact import Redactor

    redactor = Redactor(settings.secrets)
    log_module.configure(settings.log_level, as_json=settings.runpod_endpoint_id is not None, clean=redactor.clean)
    if settings.print_mounts:
        print_mounts()
    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    device, compute_type = settings.whisperx_device, settings.whisperx_compute_type
    half = settings.diarization_precision == "half"
    if settings.expects_gpu and resolve_device(device) == "cpu":
        compute_type = None  # what a GPU computes in is no setting to blame where the fitness check finds none
    models = Models(model_set, device, compute_type, token, settings.vad_model_path, parity=settings.parity, half=half)
    if settings.expects_gpu and models.device == "cpu":
        log.error("no GPU can be used: nothing is loaded, and the fitness check will end this worker")
    else:
        models.warm(settings.warmup)
    # Off the platform two workers may share a folder too, and each must only ever sweep its own.
    workspaces = Workspaces(settings.jobs_dir, settings.runpod_pod_id or f"{os.uname().nodename}-{os.getpid()}")
    workspaces.sweep()
    client = GuardedClient(frozenset(settings.fetch_allow_hosts))
    outbox = Outbox(storage_of(settings), client, settings.prefix_transcripts, settings.presign_ttl)
    intake = Intake(settings, client, workspaces, sources_of(settings))
    return Handler(JobRunner(settings, intake, Predictor(models, settings.overlap), outbox, redactor))


def storage_of(settings: Settings, bucket: str | None = None, **limits: Any):  # noqa: ANN201 (a Storage or None)
    """The worker's storage as the settings name it, or another bucket there; None without STORAGE_BUCKET.

    `limits`: connect_timeout, read_timeout (seconds) and attempts where the storage's own are too patient.
    """
    if not (settings.storage_bucket and settings.storage_access_key and settings.storage_secret_key):
        return None
    from scribe.storage.s3 import Storage

    return Storage(
        settings.storage_endpoint,
        bucket or settings.storage_bucket,
        settings.storage_access_key.get_secret_value(),
        settings.storage_secret_key.get_secret_value(),
        settings.prefix_transcripts,
        settings.presign_ttl,
        **limits,
    )


def probe_storage(settings: Settings) -> None:
    """Put, get and delete once, beside the start: a wrong key is in the log before the first job has cost its GPU time.

    Not a reason to stop: jobs may bring their own storage, and a finished transcript also travels inline.
    """
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


def sources_of(settings: Settings):  # noqa: ANN201 (an S3Sources, or None where s3:// is off)
    """What jobs may read by s3:// with the worker's keys."""
    if not (settings.storage_source_prefixes and settings.storage_configured):
        return None
    from urllib.parse import urlsplit

    from scribe.net.client import GuardedClient
    from scribe.storage.sources import S3Sources

    own = {urlsplit(settings.storage_endpoint).netloc} if settings.storage_endpoint else set()
    client = GuardedClient(frozenset(settings.fetch_allow_hosts) | own)
    forbidden = f"{settings.storage_bucket}/{settings.prefix_transcripts}"
    return S3Sources(lambda bucket: storage_of(settings, bucket), client, settings.storage_source_prefixes, forbidden)


def doctor_of(settings: Settings, model_set: Any):  # noqa: ANN201 (a Doctor, imported after the environment is set)
    """The doctor for this configuration; the models that it loads are its own."""
    from scribe.doctor.checks import Doctor
    from scribe.models.loader import Models

    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    device, compute_type = settings.whisperx_device, settings.whisperx_compute_type
    storage = storage_of(settings, connect_timeout=3.0, read_timeout=5.0, attempts=1)
    return Doctor(settings, lambda: Models(model_set, device, compute_type, token, settings.vad_model_path), storage)


def check(arguments: list[str]) -> int:
    """Look at everything that the configuration needs and tell it: a table, or JSON on the standard output alone."""
    options = argparse.ArgumentParser(description="What works on this machine, and what to do about the rest.")
    options.add_argument("--check", action="store_true", required=True)
    options.add_argument("--json", action="store_true", help="the report as JSON")
    as_json = options.parse_args(arguments).json
    try:
        settings = settings_module.load()
        prepare_environment(settings)
    except InvalidSettings as error:
        if as_json:
            print(json.dumps({"ok": False, "invalid_settings": str(error).splitlines()}, indent=2))
        return refused(error)
    from scribe.doctor import report as report_module
    from scribe.models.model_set import ModelSet
    from scribe.runtime import log as log_module
    from scribe.runtime.redact import Redactor

    redactor = Redactor(settings.secrets)
    log_module.configure(settings.log_level, as_json=False, clean=redactor.clean)
    if not settings.debug:
        logging.disable()  # the report says what is amiss; the libraries' own words only help whoever asks for them
    model_set = ModelSet(settings)
    prepare_offline(model_set.is_local)
    with contextlib.redirect_stdout(sys.stderr):
        report = doctor_of(settings, model_set).examine()
    if as_json:
        print(json.dumps(redactor.clean_value(report.to_dict()), indent=2))
    else:
        print(report_module.table(report, clean=redactor.clean), end="")
        if report.exit_code and "model_set" not in settings.model_fields_set:
            print(
                "This is about the real models. The small demo models come with the repository: MODEL_SET=demo checks them."
            )
    return report.exit_code


def refused(error: InvalidSettings) -> int:
    print(f"The worker cannot start. Correct these variables:\n{error}", file=sys.stderr)
    return EXIT_CONFIG


def main() -> int:
    """Start the worker, or check it. Returns only when it cannot start or has checked."""
    if "--check" in sys.argv:
        return check(sys.argv[1:])
    # The SDK's own are its to read; a mistyped one of ours must not start a worker.
    flags = [a for a in sys.argv[1:] if a.startswith("-") and not a.startswith(("--rp_", "--test_"))]
    if flags:
        asked = flags[0] in ("-h", "--help")
        print(__doc__ if asked else f"{flags[0]} is not known.\n\n{__doc__}", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else EXIT_USAGE
    try:
        settings = settings_module.load()
        prepare_environment(settings)
        handler = build(settings)
    except InvalidSettings as error:
        return refused(error)
    except Exception as error:
        from scribe.errors import WorkerError

        if not isinstance(error, WorkerError):
            raise
        log.error("the worker cannot start: %s: %s", error.code, error.message)
        return EXIT_MODEL
    from scribe.doors.runpod_sdk import serve

    # The libraries' objects live as long as the worker: the collector need not look through them in every job.
    gc.collect()
    gc.freeze()
    log.info("ready")
    models = handler.models
    serve(
        handler,
        settings.concurrency,
        lambda: doctor_of(settings, models.model_set).fit(models),
        lambda: probe_storage(settings),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
