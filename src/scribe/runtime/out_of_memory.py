"""Handle out-of-memory errors for every stage: free memory step by step, then use smaller batches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scribe.errors import GpuBroken, GpuOutOfMemory, MemoryExhausted, WorkerError
from scribe.runtime.gpu_errors import gpu_failure
from scribe.runtime.gpu_memory import release_memory

log = logging.getLogger(__name__)
Result = TypeVar("Result")
Number = TypeVar("Number", bound=np.generic)
# Frees some memory held by others and returns whether there was any; called again until it returns False.
Clear = Callable[[], bool]

# Number of jobs in which a reduced batch must fit before twice the size is tried again, and its maximum: like torch's
# GradScaler, which grows its scale after a number of steps, with a back-off for a GPU that stays full.
PATIENCE, MOST_PATIENCE = 10, 160


def nothing() -> bool:
    """Free nothing: the default of `clear`."""
    return False


def fitted(work: Callable[[int], Result], size: int = 1, clear: Clear = nothing) -> tuple[Result, int]:
    """Run `work(size)`, with smaller sizes when out of memory; return (its result, the size that fitted).

    When out of memory, release caches and try again, then again as long as `clear` frees anything, then with half of the
    size, and so on. Raises GpuOutOfMemory or MemoryExhausted when size 1 does not fit, GpuBroken when its message may
    also mean a broken GPU, and unchanged anything else that `work` raises.
    """
    released = False
    while True:
        try:
            return work(size), size
        except Exception as error:
            kind = _out_of_memory(error)
            if kind is None:
                raise
        # Outside the handler, because inside it the exception's traceback still refers to the tensors.
        release_memory()
        if not released:
            released = True
            log.warning("out of memory: caches were given back, trying again")
        elif clear():
            log.warning("out of memory: other work and models gave way, trying again")
        elif size > 1:
            size //= 2
            log.warning("out of memory: trying again with batches of %d", size)
        elif kind is GpuOutOfMemory:
            raise GpuOutOfMemory("the GPU's memory does not suffice for the smallest batch", final=True)
        elif kind is MemoryExhausted:
            raise MemoryExhausted("the machine's memory does not suffice for the smallest batch")
        else:
            raise GpuBroken("the GPU failed with the smallest batch too and needs a new process")


def _out_of_memory(error: Exception) -> type[WorkerError] | None:
    """Return what to raise if nothing smaller fits: GpuOutOfMemory, GpuBroken if doubtful, or MemoryExhausted.

    None for any other exception and for a final one.
    """
    failure = error if isinstance(error, WorkerError) else gpu_failure(error)
    try:
        if isinstance(failure, GpuOutOfMemory) and not failure.final:
            return GpuBroken if failure.doubtful else GpuOutOfMemory
        # Raised as such it is final: smaller batches failed already, or a model did not load.
        return MemoryExhausted if isinstance(failure, MemoryExhausted) and failure is not error else None
    finally:
        # The traceback refers to this frame: keeping the names would be a cycle that lasts until garbage collection.
        del failure, error


class Parts:
    """Runs a network on batches, each in as few parts as fit into memory; the next batch starts with the size that fitted."""

    def __init__(self, clear: Clear = nothing) -> None:
        self._clear = clear
        self._most: int | None = None

    def __call__(self, count: int, run: Callable[[slice], NDArray[Number]]) -> NDArray[Number]:
        """Return `run` over `count` items, called with slices of them."""

        def whole(size: int) -> NDArray[Number]:
            parts = [run(slice(first, min(first + size, count))) for first in range(0, count, size)]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)

        size = min(count, self._most or count)
        found, fitting = fitted(whole, size, self._clear)
        if fitting < size:
            self._most = fitting
        return found


class Ceiling:
    """Remembers from job to job the largest batch that fitted, and raises it again after PATIENCE jobs."""

    def __init__(self) -> None:
        self._most: int | None = None
        self._good, self._patience = 0, PATIENCE

    def below(self, size: int) -> int:
        """Return the smaller of `size` and the largest batch known to fit."""
        return size if self._most is None else min(size, self._most)

    def learn(self, tried: int, fitting: int) -> None:
        """Record that a job started with batches of `tried` and ended with `fitting`."""
        if fitting < tried:
            # The size that was just raised did not fit again: the GPU stays full, so wait longer before the next try.
            failed_again = self._most is not None and self._good == 0
            self._patience = min(MOST_PATIENCE, 2 * self._patience) if failed_again else PATIENCE
            self._most, self._good = fitting, 0
        elif self._most is not None and tried >= self._most:
            self._good += 1
            if self._good >= self._patience:
                self._most, self._good = 2 * self._most, 0
