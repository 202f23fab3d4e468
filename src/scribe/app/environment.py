"""What the libraries read at import: variables and folders, set before any of them is loaded."""

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
