"""Set the variables and create the folders that libraries read at import."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from pathlib import Path

from scribe.runtime.threads import prepare_threads
from scribe.settings import InvalidSettings, Settings

log = logging.getLogger(__name__)


def prepare_environment(settings: Settings, export_jobs_dir: bool = True) -> None:
    """Set the variables and create the folders, before any library is imported. Raises InvalidSettings.

    `export_jobs_dir` False leaves out JOBS_DIR, which would become a setting of all that this process does later.
    """
    os.environ["RUNPOD_LOG_LEVEL"] = "INFO"  # at DEBUG the SDK logs every transcript and every presigned URL
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a progress bar writes a log line a second
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime 1.31 stores a device id and a database in the home folder
    os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())  # matplotlib needs a writable folder
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Skip the SDK's own checks, except that of the GPU: they end a worker for a busy host, a disk that the image fills or
    # a firewall in front of 8.8.8.8. The doctor checks what this worker needs.
    os.environ.setdefault("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true")
    prepare_threads(os.environ)
    # Else transformers starts a thread that asks the hub to convert models without safetensors, and that outlives the job.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "true"
    # torchcodec warns at length when it finds no FFmpeg libraries, which are not used here.
    warnings.filterwarnings("ignore", module=r"(pyannote|speechbrain|torchaudio|torchcodec|lightning)(\..*)?")
    folders = {
        "HF_HOME": settings.hf_home,
        "HF_HUB_CACHE": settings.hf_hub_cache or settings.huggingface_hub_cache,
        "HUGGINGFACE_HUB_CACHE": settings.hf_hub_cache or settings.huggingface_hub_cache,
        "TRANSFORMERS_CACHE": settings.transformers_cache,
        "TORCH_HOME": settings.torch_home,
        "TMPDIR": settings.tmpdir,
        "JOBS_DIR": settings.jobs_dir if export_jobs_dir else None,
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
    # Reset the cached value, from before TMPDIR was set.
    tempfile.tempdir = None


def keep_kernels(settings: Settings) -> None:
    """Set the driver's cache of compiled kernels to a folder that lasts as long as the models' cache.

    CTranslate2 has no code for GPUs newer than Ada (doctor/gpus.py): the driver compiles it, and by default caches it in
    the container, where it is lost at the next cold start. The driver reads both variables when CUDA is initialized.
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
    """Put the hub's libraries into offline mode if every configured model is `local`."""
    if local:
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["TRANSFORMERS_OFFLINE"] = "1"


def print_mounts() -> None:
    """Log the free space of the mounts that the worker may write to."""
    import shutil

    for folder in ("/", "/tmp", "/runpod-volume"):
        if Path(folder).is_dir():
            usage = shutil.disk_usage(folder)
            log.info("mount %s: %.1f GB free of %.1f GB", folder, usage.free / 1e9, usage.total / 1e9)
