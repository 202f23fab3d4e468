"""One job's stages: their clock, their progress, and what to do when one of them cannot be done."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from .errors import DeadlineReached, GpuBroken, GpuOutOfMemory, StageFailed, Stopped, WorkerError
from .gpu_fault import gpu_faults
from .job import Notice
from .progress import Progress

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Stages:
    """`timings` holds seconds by stage; a stage inside another (loading, say) is counted once, in its own.

    `partial` says that the job's deadline cut something short.
    """

    def __init__(self, progress: Progress, check: Callable[[], None], strict: bool) -> None:
        self._progress = progress
        self._strict = strict
        self._inner_s = 0.0
        self.check = check
        self.timings: dict[str, float] = {}
        self.notices: list[Notice] = []
        self.partial = False

    @contextlib.contextmanager
    def enter(self, name: str) -> Iterator[None]:
        """Begin a stage that a person sees. Raises what `check` raises."""
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
        notice = Notice(code, stage, message)
        if notice not in self.notices:
            self.notices.append(notice)
            log.info("%s: %s (%s)", stage, message, code)

    def with_room(self, work: Callable[[], Result], make_room: Callable[[], bool]) -> Result:
        """Do `work`; where the GPU's memory does not suffice, `make_room` and do it once more.

        `make_room` says whether it freed anything. Raises GpuOutOfMemory, GpuBroken, and what `work` raises.
        """
        try:
            with gpu_faults():
                return work()
        except GpuOutOfMemory as error:
            message = error.message
        # Not inside the handler, where the exception's traceback still holds what did not fit.
        if not make_room():
            raise GpuOutOfMemory(message)
        log.warning("out of GPU memory: trying again with this stage's models alone")
        with gpu_faults():
            return work()

    def attempt(
        self, stage: str, consequence: str, work: Callable[[], Result], make_room: Callable[[], bool] = lambda: False
    ) -> Result | None:
        """Do a stage that the transcript can live without: None and a notice when it fails, StageFailed when `strict`.

        A stopped job and a broken GPU are never swallowed. `make_room` as in `with_room`.
        """
        try:
            with self.enter(stage):
                return self.with_room(work, make_room)
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
