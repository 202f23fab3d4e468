"""The context of one job, passed to every stage: its stop signal, progress and record."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from scribe.errors import DeadlineReached, GpuBroken, StageFailed, Stopped, WorkerError
from scribe.pipeline.progress import Progress
from scribe.runtime.gpu_errors import gpu_faults
from scribe.runtime.monitor import Monitor, never
from scribe.runtime.out_of_memory import Clear, fitted, nothing
from scribe.schema.record import JobRecord

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class JobContext:
    """One job's progress, record and stop signal.

    `stopped` raises when the job was cancelled or its deadline has passed; it may be called from any thread. With
    `strict`, a stage that fails ends the job.
    """

    progress: Progress
    record: JobRecord
    stopped: Callable[[], None] = never
    strict: bool = False

    def raise_if_stopped(self) -> None:
        """Raise Cancelled or DeadlineReached when the job must stop."""
        self.stopped()

    @property
    def monitor(self) -> Monitor:
        """The stop signal and progress of the current stage."""
        return Monitor(self.stopped, self.progress.tick)

    def stopped_also_by(self, stopped: Callable[[], None]) -> JobContext:
        """Return the same context with one more reason to stop."""

        def both() -> None:
            self.stopped()
            stopped()

        return replace(self, stopped=both)

    @contextlib.contextmanager
    def stage(self, name: str, ready: bool = False) -> Iterator[Monitor]:
        """Report and time a stage. Raises what stops the job, unless the stage's result is `ready`."""
        if not ready:
            self.stopped()
        self.progress.stage(name)
        with self.record.timed(name):
            yield self.monitor

    def attempt(
        self, name: str, consequence: str, work: Callable[[], Result], clear: Clear = nothing, ready: bool = False
    ) -> Result | None:
        """Run an optional stage. When it fails, warn and return None, or raise StageFailed if the job is `strict`.

        Stopped and GpuBroken are always raised. `consequence` ends the warning. `clear` as in `fitted`, `ready` as in
        `stage`.
        """
        try:
            with self.stage(name, ready), gpu_faults():
                return fitted(lambda _: work(), clear=clear)[0]
        except (Stopped, GpuBroken):
            raise
        except WorkerError as error:
            code, message, retryable = error.code, error.message, error.retryable
            self.record.partial = self.record.partial or isinstance(error, DeadlineReached)
        except Exception as error:
            log.warning("%s failed", name, exc_info=True)
            code, message, retryable = f"{name}_failed", f"{name} failed ({type(error).__name__})", False
        if self.strict:
            raise StageFailed(message, {"stage": name, "code": code}, retryable)
        self.record.warn(code, name, f"{message}; {consequence}")
        return None
