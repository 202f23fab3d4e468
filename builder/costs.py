"""What an hour of audio costs on which GPU: computed from the arithmetic of the models, not measured.

Per hour of dense speech: 144 chunks of 25 s, 100 decoding steps each, 16 chunks a batch. The arithmetic is bound by the
matrix units and decoding by the memory's bandwidth, so that seconds = operations / speed + bytes / bandwidth at the shares
of the data sheet that well-kept code reaches. Start, download, idle time and what runs on the CPU come on top.
"""

from __future__ import annotations

from dataclasses import dataclass

PRICES_OF = "2026-08-20"

# The shares of the data sheet's figures that are assumed.
RECOGNITION_SHARE, OTHERS_SHARE, BANDWIDTH_SHARE = 0.50, 0.35, 0.70
# Operations of an alignment model of base size and of the embedding network, once per window, in units of 10^12.
ALIGNMENT, DIARIZATION = 52.0, 163.0


@dataclass(frozen=True, slots=True)
class SpeechModel:
    """`operations` in units of 10^12 (encoder, cross-attention's projections); `traffic` in TB that decoding reads."""

    operations: float
    traffic: float


@dataclass(frozen=True, slots=True)
class Gpu:
    """`memory` in GB; `price` in dollars a second (RunPod flex); `speed` in 10^12 operations a second at half precision
    with full accumulation, without sparsity; `bandwidth` in TB a second."""

    name: str
    pool: str
    memory: int
    price: float
    speed: float
    bandwidth: float


MODELS = {"large-v3": SpeechModel(327 + 45, 3.54 + 0.24), "turbo": SpeechModel(327 + 5.7, 0.44 + 0.05)}
GPUS = (
    Gpu("L4", "AMPERE_24", 24, 0.00019, 121, 0.300),
    Gpu("RTX A5000", "AMPERE_24", 24, 0.00019, 111, 0.768),
    Gpu("RTX 3090", "AMPERE_24", 24, 0.00019, 71, 0.936),
    Gpu("RTX 4090", "ADA_24", 24, 0.00031, 165, 1.008),
    Gpu("RTX A6000, A40", "AMPERE_48", 48, 0.00034, 150, 0.696),
    Gpu("L40S", "ADA_48_PRO", 48, 0.00053, 362, 0.864),
    Gpu("A100", "AMPERE_80", 80, 0.00076, 312, 2.039),
    Gpu("H100", "ADA_80_PRO", 80, 0.00116, 989, 3.350),
)


def seconds(gpu: Gpu, model: SpeechModel) -> float:
    """GPU seconds for an hour of audio: recognized, aligned, its speakers separated."""
    recognition = model.operations / (RECOGNITION_SHARE * gpu.speed) + model.traffic / (BANDWIDTH_SHARE * gpu.bandwidth)
    return recognition + (ALIGNMENT + DIARIZATION) / (OTHERS_SHARE * gpu.speed)


def costs() -> list[tuple[str, ...]]:
    """Rows: GPU, pool, memory, then seconds and cents an hour of audio for every model."""
    rows = []
    for gpu in GPUS:
        figures = [seconds(gpu, model) for model in MODELS.values()]
        told = [f"{time:.0f} s, {100 * time * gpu.price:.2f} ¢" for time in figures]
        rows.append((gpu.name, gpu.pool, f"{gpu.memory} GB", f"{gpu.price:.5f} $/s", *told))
    return rows
