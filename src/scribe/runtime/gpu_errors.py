"""Map exceptions to GpuErrors, or to MemoryExhausted, by the messages of CUDA and its libraries."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from scribe.errors import GpuBroken, GpuError, GpuOutOfMemory, GpuUnsuited, MemoryExhausted, WorkerError
from scribe.runtime.machine import gpu_in_use

# Out of memory: a smaller batch helps. The last message is pyannote's.
OUT_OF_MEMORY = ("out of memory", "alloc_failed", "allocation_failed", "until memory error disappears")
# Raised by C++ when any memory is full: the GPU's where CTranslate2 computes on one, else the machine's.
BAD_ALLOC = "std::bad_alloc"
# Raised both when memory is nearly full and when the GPU is broken: cuBLAS cannot create its handle, cuDNN finds no
# algorithm whose workspace fits, cuFFT and cuSOLVER have one status for everything, torch's allocator fails in NVML.
PERHAPS_OUT_OF_MEMORY = (
    "cublas_status_not_initialized",
    "cudnn_status_not_initialized",
    "unable to find an engine",
    "valid cudnn algorithm",
    "cufft_internal_error",
    "cusolver_status_internal_error",
    "nvml_success == ",
    BAD_ALLOC,
)
# A new process on this machine fails too: the packages have no code for this chip, or the driver is too old for them.
UNSUITED = (
    "no kernel image is available",
    "driver version is insufficient",
    "driver on your system is too old",
    "unsupported toolchain",
    "forward compatibility was attempted on non supported hw",
    "not compiled with cuda support",
)
MISSING_LIBRARY = re.compile(r"\b(library|any of)\W+lib(cublas|cuda|cudnn|cufft|curand|cusolver|cusparse|nvrtc)")
# Other errors of CUDA libraries, after which only a new process is known to help.
POISONED = ("cuda error", "cuda failed with error", "cudnn_status_", "cublas_status_", "device-side assert")


def gpu_failure(error: BaseException) -> GpuError | MemoryExhausted | None:
    """Return the GpuError or MemoryExhausted for a library's exception; None if it is about neither GPU nor memory."""
    words = str(error).lower()
    if _of_the_machine(error, words):
        return MemoryExhausted("the machine's memory does not suffice")
    if any(sign in words for sign in UNSUITED) or MISSING_LIBRARY.search(words):
        return GpuUnsuited("the GPU, its driver or its libraries cannot run this worker's packages")
    if any(sign in words for sign in OUT_OF_MEMORY):
        return GpuOutOfMemory("the GPU's memory does not suffice")
    if any(sign in words for sign in PERHAPS_OUT_OF_MEMORY):
        return GpuOutOfMemory("the GPU's memory does not suffice", doubtful=True)
    if any(sign in words for sign in POISONED):
        return GpuBroken("the GPU failed and needs a new process")
    return None


def _of_the_machine(error: BaseException, words: str) -> bool:
    """Return whether the machine's memory was exhausted: NumPy and pybind11 raise MemoryError, torch names its allocator."""
    if BAD_ALLOC in words:
        return not gpu_in_use()
    return isinstance(error, MemoryError) or "defaultcpuallocator" in words


@contextlib.contextmanager
def gpu_faults() -> Iterator[None]:
    """Raise a GpuError or MemoryExhausted for an exception about either in the block; others are not changed."""
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
            # The traceback refers to this frame: keeping the name would be a cycle that holds tensors until garbage collection.
            del failure
