"""Check the GPUs that torch finds, each with a small computation, and the driver and CUDA libraries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scribe.doctor.report import Finding, State
from scribe.runtime import machine

GIB = 1024**3
# The compute capabilities for which libctranslate2 4.8.5 has code; later chips of the same generation run it too. For any
# newer chip the driver compiles PTX at the first use. A test reads these numbers from the wheel (tests/fatbinary.py).
CTRANSLATE2_CODE, CTRANSLATE2_PTX = (53, 60, 61, 70, 75, 80, 86), 86
# pyannote 4 takes up to 9.5 GB on long files.
COMFORTABLE_GPU = 10 * GIB


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: bytes of memory, compute capability, and `fault`, "" if a computation on it was right."""

    name: str
    memory: int
    capability: tuple[int, int]
    fault: str = ""

    @property
    def chip(self) -> int:
        """The compute capability as one number: 86 for 8.6."""
        return 10 * self.capability[0] + self.capability[1]

    @property
    def compiles(self) -> bool:
        """Whether the driver has to compile CTranslate2's kernels for this chip."""
        return not any(code // 10 == self.capability[0] and code <= self.chip for code in CTRANSLATE2_CODE)


def counted() -> int:
    """Return the number of GPUs that CTranslate2, which runs the speech model, can use; 0 after an error of the driver."""
    import ctranslate2

    return int(ctranslate2.get_cuda_device_count())


def accelerators() -> list[Gpu]:
    """Return the GPUs that torch finds; none without a driver."""
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
    """Return why this GPU cannot be used, "" if it can. Code for a chip runs on later ones of the generation, not earlier."""
    import torch

    made_for = [int(arch[3:].rstrip("af")) for arch in torch.cuda.get_arch_list() if arch.startswith("sm_")]
    chip = capability[0] * 10 + capability[1]
    if made_for and chip < min(made_for):
        return f"torch is made for capability {min(made_for) / 10} and newer"
    try:
        total = (torch.arange(4, device=f"cuda:{number}") * 2).sum().item()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "" if total == 12 else "a sum came out wrong"


def graphics(
    gpus: Sequence[Gpu], speech: int, driver: tuple[int, int] | None, wanted: str, expected: bool, kernels: Path | None
) -> Iterator[Finding]:
    """Yield the findings about the GPUs, the driver and the CUDA libraries; `wanted` is WHISPERX_DEVICE.

    `gpus` are torch's, `speech` is CTranslate2's count; `expected`: the platform gives this worker a GPU.
    """
    if wanted == "cpu" and gpus:
        yield Finding("GPU", "warning", f"{gpus[0].name} is there and WHISPERX_DEVICE is cpu", "Unset WHISPERX_DEVICE.")
    elif not gpus and not speech:
        state: State = "failed" if wanted == "cuda" or expected else "warning"
        yield missing_gpu(gpus, speech, driver, state)
    else:
        yield from judged(gpus, kernels)
        if not (gpus and speech):
            yield missing_gpu(gpus, speech, driver, "failed")
    if driver is not None:
        old = driver < (12, 0)
        state = "failed" if old and gpus else "ok" if driver >= (12, 8) else "warning"
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


def missing_gpu(gpus: Sequence[Gpu], speech: int, driver: tuple[int, int] | None, state: State) -> Finding:
    """Return the finding for a GPU that torch, CTranslate2 or both cannot use."""
    if speech:
        text = "CTranslate2 can use a GPU and torch cannot: words and speakers would fail"
    elif gpus:
        text = f"torch can use {gpus[0].name} and CTranslate2 cannot: the speech would be recognized on the CPU"
    else:
        known = "no NVIDIA driver" if driver is None else f"a driver for CUDA {driver[0]}.{driver[1]} and no usable GPU"
        text = f"none: {known}; the CPU would be used"
    remedy = (
        "Choose another GPU and CUDA 12.8 or newer for the endpoint (a container needs --gpus all); where the CPU is meant,"
        " set WHISPERX_DEVICE=cpu."
    )
    return Finding("GPU", state, text, remedy)


def judged(gpus: Sequence[Gpu], kernels: Path | None = None) -> Iterator[Finding]:
    """Yield the findings about each GPU; `kernels` is the driver's cache of compiled kernels."""
    for number, gpu in enumerate(gpus):
        text = f"{gpu.name}, {gpu.memory / GIB:.0f} GiB, compute capability {gpu.capability[0]}.{gpu.capability[1]}"
        if gpu.fault:
            yield Finding(f"GPU {number}", "failed", f"{text}: {gpu.fault}", "Choose a GPU of Turing (2018) or newer.")
        elif gpu.memory < COMFORTABLE_GPU:
            remedy = "Choose a GPU with 16 GB or more: separating the speakers of a long recording takes up to 10 GB."
            yield Finding(f"GPU {number}", "warning", text, remedy)
        else:
            yield Finding(f"GPU {number}", "ok", text)
        if not gpu.fault and gpu.compiles:
            text = f"CTranslate2 holds no code for this GPU: its driver compiles it at the first start, into {kernels or '~/.nv'}"
            yield Finding(f"kernels of GPU {number}", "warning", text, "Keep HF_HOME, or CUDA_CACHE_PATH, on a volume.")
