"""Free GPU memory for a stage that runs out of it: pause the concurrent stage, then drop idle models."""

from __future__ import annotations

from typing import Protocol

from scribe.models.cache import Stage
from scribe.pipeline.executor import StageExecutor
from scribe.runtime.out_of_memory import Clear


class Droppable(Protocol):
    """Loaded models that can be dropped."""

    def drop_idle(self, *in_use: Stage) -> bool:
        """Drop one model whose stage is not in use; return whether there was one."""


class GpuBudget:
    """Frees GPU memory step by step: first pauses the concurrent stage, then drops idle models."""

    def __init__(self, models: Droppable, executor: StageExecutor, concurrent: Stage = Stage.DIARIZATION) -> None:
        self._models = models
        self._executor = executor
        self._concurrent = concurrent

    def clear(self, *in_use: Stage) -> Clear:
        """Return a function that frees memory for the job's own thread and keeps the models of the stages `in_use`."""

        def clear() -> bool:
            if self._executor.pause():
                return True
            # A paused stage continues afterwards and needs its models.
            waiting = (self._concurrent,) if self._executor.busy else ()
            return self._models.drop_idle(*in_use, *waiting)

        return clear

    def clear_concurrent(self) -> bool:
        """Free memory for the concurrent stage, called in its thread; return whether there was anything to free."""
        return self._executor.wait_alone() or self._models.drop_idle(self._concurrent)
