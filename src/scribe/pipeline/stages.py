"""One job's stages: their clock, their progress, and what to do when one of them cannot be done."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from scribe.errors import DeadlineReached, GpuBroken, StageFailed, Stopped, WorkerError
from scribe.models.cache import Stage
from scribe.pipeline.progress import Progress
from scribe.runtime.gpu_errors import gpu_faults
from scribe.runtime.out_of_memory import Clear, fitted, nothing
from scribe.schema.job import JobWarning

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Beside(Protocol):
    """What runs beside the stages, in a thread of its own."""

    def check(self) -> None:
        """Raise what concerns the whole job."""

    def give_way(self) -> bool:
        """Give memory back, by pausing where that is needed; whether there was anything to give."""


class Droppable(Protocol):
    """Loaded models that can leave."""

    def drop_idle(self, *in_use: Stage) -> bool:
        """Drop one model that is of no stage in use; whether there was one."""


class Stages:
    """`timings` holds seconds by stage; a stage inside another (loading, say) is counted once, in its own.

    They are the job's own thread's: of what runs `beside`, only what is waited for. Only `tick` and `check` may be
    called from another thread. `partial` says that the job's deadline cut something short.
    """

    def __init__(self, progress: Progress, check: Callable[[], None], strict: bool) -> None:
        self._progress = progress
        self._strict = strict
        self._inner_s = 0.0
        self._check = check
        self.beside: Beside | None = None
        self.timings: dict[str, float] = {}
        self.notices: list[JobWarning] = []
        self.partial = False

    def check(self) -> None:
        """Raise when the job was stopped, or when what runs beside met what ends the job."""
        self._check()
        if (beside := self.beside) is not None:
            beside.check()

    @contextlib.contextmanager
    def enter(self, name: str, ready: bool = False) -> Iterator[None]:
        """Begin a stage that a person sees. Raises what `check` raises, unless the stage's result is `ready`."""
        if not ready:
            self.check()
        self._progress.stage(name)
        with self.timed(name):
            yield

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the block's seconds under `name`, and not under the stage around it."""
        began, outer = time.monotonic(), self._inner_s
        self._inner_s = 0.0
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self.timings[name] = self.timings.get(name, 0.0) + spent - self._inner_s
            self._inner_s = outer + spent

    def tick(self, fraction: float | None) -> None:
        """Between batches: stop if the job was stopped, else show the progress (0 to 1 of the stage)."""
        self.check()
        self._progress.tick(fraction)

    def share(self, number: int, count: int) -> Callable[[float | None], None]:
        """A tick for part `number` of `count` equal parts of the stage."""
        return lambda fraction: self.tick(None if fraction is None else (number + fraction) / count)

    def notice(self, code: str, stage: str, message: str) -> None:
        """Tell the caller something, once."""
        notice = JobWarning(code, stage, message)
        if notice not in self.notices:
            self.notices.append(notice)
            log.info("%s: %s (%s)", stage, message, code)

    def give_way(self) -> bool:
        """Let what runs beside give its memory back; whether there was anything to give."""
        return (beside := self.beside) is not None and beside.give_way()

    def room(self, models: Droppable, *in_use: Stage) -> Clear:
        """A way to free memory, step by step: what runs beside pauses, then models leave that are not in use."""

        def clear() -> bool:
            if self.give_way():
                return True
            # Paused, it goes on afterwards, on its models.
            beside = () if self.beside is None else (Stage.DIARIZATION,)
            return models.drop_idle(*in_use, *beside)

        return clear

    def attempt(
        self,
        stage: str,
        consequence: str,
        work: Callable[[], Result],
        clear: Clear = nothing,
        ready: bool = False,
    ) -> Result | None:
        """Do a stage that the transcript can live without: None and a notice when it fails, StageFailed when `strict`.

        A stopped job and a broken GPU are never swallowed. `clear` as in `fitted`, `ready` as in `enter`.
        """
        try:
            with self.enter(stage, ready), gpu_faults():
                return fitted(lambda _: work(), clear=clear)[0]
        except (Stopped, GpuBroken):
            raise
        except WorkerError as error:
            code, message, retryable = error.code, error.message, error.retryable
            self.partial = self.partial or isinstance(error, DeadlineReached)
        except Exception as error:
            log.warning("%s failed", stage, exc_info=True)
            code, message, retryable = f"{stage}_failed", f"{stage} failed ({type(error).__name__})", False
        if self._strict:
            raise StageFailed(message, {"stage": stage, "code": code}, retryable)
        self.notice(code, stage, f"{message}; {consequence}")
        return None
