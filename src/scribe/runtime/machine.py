"""Query the machine: the container's memory and cores, the NVIDIA driver, the CUDA libraries of the wheels.

Asks the system itself, without torch, so that it works even if torch cannot be imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

# The libraries that CTranslate2 4.8 and torch 2.8 open by name at run time; only CTranslate2 opens the first one so.
CUDA_LIBRARIES = (
    "libcublas.so.12",
    "libcublasLt.so.12",
    "libcudnn.so.9",
    "libcudart.so.12",
    "libnvrtc.so.12",
    "libcufft.so.11",
    "libcurand.so.10",
    "libcusparse.so.12",
    "libcusolver.so.11",
    "libnccl.so.2",
)


def memory_limit(root: Path = Path("/")) -> int:
    """Return the container's memory in bytes: the cgroup's limit (v2 or v1), or the host's memory if that is less."""
    limits = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (root / "proc/meminfo").read_text("utf-8").splitlines()
        limits.append(int(next(line.split()[1] for line in lines if line.startswith("MemTotal:"))) * 1024)
    for file in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        # "max" stands for no limit; version 1 says the same by a number that no machine has.
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((root / file).read_text("utf-8")))
    return min(limits, default=0)


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of CPU cores for this container, at least 1: its CPU affinity, or its quota if that is less.

    More threads than the quota allows get the whole process throttled for the rest of each period.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, cpu_quota(root) or allowed))


def cpu_quota(root: Path = Path("/")) -> int | None:
    """Return the cgroup's CPU quota (v2 or v1) in whole cores, at least 1; None without a quota."""
    cgroup = root / "sys/fs/cgroup"
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        # "max" stands for no quota; version 1 says the same by -1.
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, " ".join((cgroup / file).read_text("utf-8") for file in files).split())
            if quota > 0:
                return max(1, quota // period)
    return None


def opened(name: str) -> ctypes.CDLL:
    """Open a shared library by name or path. Raises OSError with the linker's message."""
    return ctypes.CDLL(name)


def driver_version(open_library: Callable[[str], ctypes.CDLL] = opened) -> tuple[int, int] | None:
    """Return (major, minor) of the newest CUDA version that the NVIDIA driver supports; None without a driver."""
    version = ctypes.c_int()
    try:
        if open_library("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return version.value // 1000, version.value % 1000 // 10


def free_gpu_memory(number: int = 0, open_library: Callable[[str], ctypes.CDLL] = opened) -> int | None:
    """Return the free bytes of a GPU, over all processes, as its driver counts them; None if the driver does not answer.

    Asked in the context that CTranslate2 and torch share. NVML would count GPUs that CUDA_VISIBLE_DEVICES hides, and knows
    no memory of a MIG slice.
    """
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    try:
        cuda = open_library("libcuda.so.1")
        if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), number):
            return None
        if cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
            return None
        try:
            if cuda.cuCtxPushCurrent_v2(context):
                return None
            failed = cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
            cuda.cuCtxPopCurrent_v2(ctypes.byref(context))
            return None if failed else free.value
        finally:
            cuda.cuDevicePrimaryCtxRelease_v2(device)
    except (OSError, AttributeError):
        return None


def gpu_in_use(number: int = 0, open_library: Callable[[str], ctypes.CDLL] = opened) -> bool:
    """Return whether this process has a primary CUDA context, which CTranslate2 and torch share. Creates none."""
    device, flags, active = ctypes.c_int(), ctypes.c_uint(), ctypes.c_int()
    try:
        cuda = open_library("libcuda.so.1")
        if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), number):
            return False
        failed = cuda.cuDevicePrimaryCtxGetState(device, ctypes.byref(flags), ctypes.byref(active))
    except (OSError, AttributeError):
        return False
    return not failed and bool(active.value)


def spare_gpu_memory() -> int:
    """Return the bytes of GPU memory that are free or that torch caches unused; 0 if unknown. Imports nothing itself."""
    free = free_gpu_memory() or 0
    torch = sys.modules.get("torch")
    # If another thread is still importing torch, it has no `cuda` yet.
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
        free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return free


def largest_batch(room_bytes: int, each_bytes: int, most: int) -> int:
    """Return the largest power of two, 1 to `most`, of items of `each_bytes` that fit into `room_bytes`."""
    return 1 << (max(1, min(most, room_bytes // each_bytes)).bit_length() - 1)


def wheel_libraries() -> dict[str, Path]:
    """Return {file name: path} of the CUDA libraries in the installed nvidia wheels."""
    folder = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    return {p.name: p for p in sorted(folder.glob("*/lib/*.so*")) if p.is_file()}


def missing_libraries(
    names: tuple[str, ...] = CUDA_LIBRARIES, open_library: Callable[[str], ctypes.CDLL] = opened
) -> list[str]:
    """Return those of `names` that load neither by name, as CTranslate2 opens them, nor from the wheels, as torch does."""
    carried = wheel_libraries()
    missing = []
    for name in names:
        for place in (name, str(carried.get(name, name))):
            with contextlib.suppress(OSError):
                open_library(place)
                break
        else:
            missing.append(name)
    return missing


def peak_memory_mb() -> float:
    """Return the worker's peak resident memory in MB, models and earlier jobs included."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)
