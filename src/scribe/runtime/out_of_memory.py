"""Memory, of the GPU or the machine, that does not suffice: freed step by step, then asked for in smaller pieces. For every stage."""

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
# Frees memory that others hold; whether there was any to free. Asked again until it says no.
Clear = Callable[[], bool]

# Jobs in which a reduced batch has to fit before twice as much is tried again, and the most of them: like the scale of
# torch's GradScaler, which grows again after so many steps, with a back-off for a card that stays full.
PATIENCE, MOST_PATIENCE = 10, 160


def nothing() -> bool:
    """There is nothing to free."""
    return False


def fitted(work: Callable[[int], Result], size: int = 1, clear: Clear = nothing) -> tuple[Result, int]:
    """(what `work(size)` gives, the size that fitted).

    Out of memory, caches are given back and the same size is tried again; then again for as long as `clear` frees anything;
    only then with half of the size, and so on. Raises GpuOutOfMemory or MemoryExhausted when 1 does not fit, GpuBroken when it
    fails in words that may mean a broken card too, and anything else that `work` raises as it is.
    """
    released = False
    while True:
        try:
            return work(size), size
        except Exception as error:
            kind = _out_of_memory(error)
            if kind is None:
                raise
        # Not inside the handler, where the exception's traceback still holds what did not fit.
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
    """What the exception means if nothing smaller fits: GpuOutOfMemory, GpuBroken where that is in doubt, MemoryExhausted.

    None when it is about something else, or final.
    """
    failure = error if isinstance(error, WorkerError) else gpu_failure(error)
    try:
        if isinstance(failure, GpuOutOfMemory) and not failure.final:
            return GpuBroken if failure.doubtful else GpuOutOfMemory
        # One that is raised as such was tried in smaller pieces already, or is a model's.
        return MemoryExhausted if isinstance(failure, MemoryExhausted) and failure is not error else None
    finally:
        # The exception's traceback leads here: with the name still there, both would stay until the collector comes.
        del failure, error


class Parts:
    """Runs a network on batches, each in as few parts as fit; what fitted once is where the next batch begins."""

    def __init__(self, clear: Clear = nothing) -> None:
        self._clear = clear
        self._most: int | None = None

    def __call__(self, count: int, run: Callable[[slice], NDArray[Number]]) -> NDArray[Number]:
        """What `run` gives for `count` items, asked for in slices of them."""

        def whole(size: int) -> NDArray[Number]:
            parts = [run(slice(first, min(first + size, count))) for first in range(0, count, size)]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)

        size = min(count, self._most or count)
        found, fitting = fitted(whole, size, self._clear)
        if fitting < size:
            self._most = fitting
        return found


class Ceiling:
    """The largest batch that fitted into memory, remembered from job to job, and its way back up."""

    def __init__(self) -> None:
        self._most: int | None = None
        self._good, self._patience = 0, PATIENCE

    def below(self, size: int) -> int:
        """The size, or what fitted lately where that is less."""
        return size if self._most is None else min(size, self._most)

    def learn(self, tried: int, fitting: int) -> None:
        """Take note of a job that began with batches of `tried` and ended with `fitting`."""
        if fitting < tried:
            # What had just grown did not fit again: the card stays full, and the next try can wait.
            failed_again = self._most is not None and self._good == 0
            self._patience = min(MOST_PATIENCE, 2 * self._patience) if failed_again else PATIENCE
            self._most, self._good = fitting, 0
        elif self._most is not None and tried >= self._most:
            self._good += 1
            if self._good >= self._patience:
                self._most, self._good = 2 * self._most, 0
