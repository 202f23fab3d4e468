"""The GPUs as torch sees them, each tried with one small sum, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import machine
from .report import Finding, State

GIB = 1024**3
# pyannote 4 was seen to take up to 9.5 GB on long files.
COMFORTABLE_GPU = 10 * GIB


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: bytes of memory, compute capability, and `fault`, empty when a sum on it came out right."""

    name: str
    memory: int
    capability: tuple[int, int]
    fault: str = ""


def accelerators() -> list[Gpu]:
    """Every GPU that torch can name; empty without one or without a driver."""
    import torch

    if not torch.cuda.is_available():
        return []
    return [_tried(number) for number in range(torch.cuda.device_count())]


def _tried(number: int) -> Gpu:
    import torch

    found = torch.cuda.get_device_properties(number)
    capability = (found.major, found.minor)
    return Gpu(found.name, found.total_memory, capability, _fault(number, capability))


def _fault(number: int, capability: tuple[int, int]) -> str:
    """Why this GPU cannot be used. Code for a chip runs on later ones of the same generation, and on no earlier one."""
    import torch

    made_for = [int(arch[3:].rstrip("af")) for arch in torch.cuda.get_arch_list() if arch.startswith("sm_")]
    number_of = capability[0] * 10 + capability[1]
    if made_for and number_of < min(made_for):
        return f"torch is made for capability {min(made_for) / 10} and newer"
    try:
        total = (torch.arange(4, device=f"cuda:{number}") * 2).sum().item()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "" if total == 12 else "a sum came out wrong"


def graphics(gpus: Sequence[Gpu], driver: tuple[int, int] | None, wanted: str) -> Iterator[Finding]:
    """What is to be said of the GPUs, the driver and the CUDA libraries where the operator asked for `wanted`."""
    if not gpus:
        why = "no NVIDIA driver" if driver is None else f"a driver for CUDA {driver[0]}.{driver[1]} and no usable GPU"
        remedy = "Choose a GPU and CUDA 12.8 for the endpoint, or start the container with --gpus all."
        yield Finding("GPU", "failed" if wanted == "cuda" else "warning", f"none: {why}; the CPU would be used", remedy)
    elif wanted == "cpu":
        yield Finding("GPU", "warning", f"{gpus[0].name} is there and WHISPERX_DEVICE is cpu", "Unset WHISPERX_DEVICE.")
    else:
        yield from judged(gpus)
    if driver is not None:
        old = driver < (12, 0)
        state: State = "failed" if old and gpus else "ok" if driver >= (12, 8) else "warning"
        yield Finding(
            "driver", state, f"knows CUDA {driver[0]}.{driver[1]}; the packages are made for 12.8",
            "" if state == "ok" else "Set the endpoint's allowed CUDA versions to 12.8 and newer.",
        )  # fmt: skip
    missing = machine.missing_libraries()
    state = "ok" if not missing else "failed" if gpus and wanted != "cpu" else "warning"
    yield Finding(
        "CUDA libraries", state, f"{len(machine.CUDA_LIBRARIES) - len(missing)} of {len(machine.CUDA_LIBRARIES)} load"
        + (f"; missing: {', '.join(missing)}" if missing else ""),
        "Install builder/requirements.txt anew, or rebuild the image." if missing else "",
    )  # fmt: skip


def judged(gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """One finding for each GPU."""
    for number, gpu in enumerate(gpus):
        text = f"{gpu.name}, {gpu.memory / GIB:.0f} GiB, compute capability {gpu.capability[0]}.{gpu.capability[1]}"
        if gpu.fault:
            yield Finding(f"GPU {number}", "failed", f"{text}: {gpu.fault}", "Choose a GPU of Turing (2018) or newer.")
        elif gpu.memory < COMFORTABLE_GPU:
            remedy = "Choose a GPU with 16 GB or more: separating the speakers of a long recording takes up to 10 GB."
            yield Finding(f"GPU {number}", "warning", text, remedy)
        else:
            yield Finding(f"GPU {number}", "ok", text)
