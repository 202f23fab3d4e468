"""The GPU's memory, shared by the stages of one job: what is freed, in which order, when it does not suffice."""

from __future__ import annotations

from typing import Protocol

from scribe.models.cache import Stage
from scribe.pipeline.executor import StageExecutor
from scribe.runtime.out_of_memory import Clear


class Droppable(Protocol):
    """Loaded models that can leave."""

    def drop_idle(self, *in_use: Stage) -> bool:
        """Drop one model that is of no stage in use; whether there was one."""


class GpuBudget:
    """Frees memory step by step: first the concurrent stage waits, then idle models leave."""

    def __init__(self, models: Droppable, executor: StageExecutor, concurrent: Stage = Stage.DIARIZATION) -> None:
        self._models = models
        self._executor = executor
        self._concurrent = concurrent

    def clear(self, *in_use: Stage) -> Clear:
        """Give what frees memory for the job's own thread, whose models are those of the stages `in_use`."""

        def clear() -> bool:
            if self._executor.pause():
                return True
            # A stage that waits goes on afterwards, with its models.
            waiting = (self._concurrent,) if self._executor.busy else ()
            return self._models.drop_idle(*in_use, *waiting)

        return clear

    def clear_concurrent(self) -> bool:
        """Free memory for the concurrent stage, called in its thread; whether there was anything to free."""
        return self._executor.wait_alone() or self._models.drop_idle(self._concurrent)
