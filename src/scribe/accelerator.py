"""The GPUs as torch sees them, each tried with one small sum."""

from __future__ import annotations

from dataclasses import dataclass


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
