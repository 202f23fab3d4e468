"""What a library's exception says about the GPU, told by CUDA's own words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .errors import GpuBroken, GpuError, GpuOutOfMemory, WorkerError

# How a CUDA library begins to say that it failed. Out of memory aside, only a new process is known to help.
POISONED = ("cuda error", "cuda failed with error", "cudnn_status_", "cublas_status_", "device-side assert")


def gpu_failure(error: BaseException) -> GpuError | None:
    """What a library's exception says about the GPU, judged by CUDA's own words; None when it is about something else."""
    words = str(error).lower()
    if "out of memory" in words or "alloc_failed" in words:
        return GpuOutOfMemory("the GPU's memory does not suffice")
    if any(sign in words for sign in POISONED):
        return GpuBroken("the GPU failed and needs a new process")
    return None


@contextlib.contextmanager
def gpu_faults() -> Iterator[None]:
    """Raise GpuOutOfMemory or GpuBroken for what the block's libraries say of the GPU; any other exception as it is."""
    try:
        yield
    except WorkerError:
        raise
    except Exception as error:
        failure = gpu_failure(error)
        if failure is None:
            raise
        try:
            raise failure from error
        finally:
            # Its traceback holds this frame: with the name still here, tensors would stay until the collector comes.
            del failure
