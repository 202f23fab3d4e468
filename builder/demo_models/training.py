"""The loop that all four models are trained with: seeded batches, AdamW, warm-up and cosine, a line a minute."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Batches(Dataset):
    """Batch number i depends on the seed and on i alone, so any number of loader processes gives the same training."""

    def __init__(self, make: Callable[..., Any], steps: int, seed: int, plan: Sequence[Any] = ()) -> None:
        """`make(rng)` gives a batch; with a `plan`, `make(rng, plan[i])` gives batch number i."""
        self._make, self._steps, self._seed, self._plan = make, steps, seed, plan

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Any:
        if step >= self._steps:
            raise IndexError(step)
        return self._make(np.random.default_rng((self._seed, step)), *self._plan[step : step + 1])

    def loader(self) -> DataLoader:
        """One process beside the training makes the batches; it costs a fraction of a core."""
        return DataLoader(self, batch_size=None, num_workers=1, prefetch_factor=4)


def train(
    parameters: Iterable[torch.nn.Parameter],
    batches: Batches,
    loss_of: Callable[[Any, float], torch.Tensor],
    rate: float,
    *,
    clip: float = 1.0,
    betas: tuple[float, float] = (0.9, 0.98),
    weight_decay: float = 0.01,
    warm_up: int = 50,
    every: int = 100,
    checkpoint: Callable[[], None] = lambda: None,
) -> None:
    """Runs through `batches` once. `loss_of(batch, progress)` gets progress in 0..1.

    `checkpoint` is called every `every` steps and at the end.
    """
    parameters = list(parameters)
    optimiser = torch.optim.AdamW(parameters, rate, betas=betas, weight_decay=weight_decay)
    total, began, recent = len(batches), time.monotonic(), []
    for step, batch in enumerate(batches.loader()):
        progress = step / total
        for group in optimiser.param_groups:
            group["lr"] = (
                rate * min(1.0, (step + 1) / warm_up) * (0.5 * (1 + math.cos(math.pi * progress)) * 0.98 + 0.02)
            )
        loss = loss_of(batch, progress)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimiser.step()
        recent.append(loss.item())
        if (step + 1) % every == 0 or step + 1 == total:
            seconds = time.monotonic() - began
            print(f"  step {step + 1}/{total}  loss {np.mean(recent):.4f}  {seconds:.0f} s", flush=True)
            recent = []
            checkpoint()
