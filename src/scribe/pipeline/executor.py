"""Runs a step of a job in a second thread while the job's own goes on with other stages; always joined."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from scribe.errors import GpuBroken, Stopped
from scribe.pipeline.context import JobContext
from scribe.pipeline.overlap import SideStream
from scribe.runtime.gpu_errors import gpu_faults
from scribe.runtime.gpu_memory import release_memory
from scribe.runtime.monitor import Monitor

log = logging.getLogger(__name__)
Result = TypeVar("Result")
# How often a thread that waits for a step to pause looks whether the step has ended instead.
PAUSE_CHECK_S = 0.05


class StepFuture(Generic[Result]):
    """The result of a submitted step. Made by StageExecutor.

    `seconds` is how long the step ran concurrently, before it was waited for; 0 where it did not.
    """

    def __init__(self, context: JobContext, step: Callable[[Monitor], Result]) -> None:
        self._context = context
        self._step = step
        self._thread: threading.Thread | None = None
        self._stop, self._pause, self._paused, self._awaited = (threading.Event() for _ in range(4))
        self._result: Result | None = None
        self._taken = False
        self._failure: BaseException | None = None
        self._began = self._ended = 0.0
        self._paused_at: float | None = None
        self.seconds = 0.0

    @property
    def concurrent(self) -> bool:
        """Whether a second thread has the step, and its result was not taken yet."""
        return self._thread is not None

    @property
    def done(self) -> bool:
        """Whether `result` returns at once."""
        ended = self._thread is not None and not self._thread.is_alive()
        return self._taken or (ended and self._failure is None)

    def result(self) -> Result:
        """Wait for the step's result; a paused step goes on. Raises what the step raised.

        Where no second thread has the step, or where it failed there and the result is asked for again, the step runs in
        the caller's thread.
        """
        if not self._taken:
            if self._thread is None:
                self._result = self._step(self._context.monitor)
            else:
                self._join(self._thread)
            self._taken = True
        return cast(Result, self._result)

    def _join(self, thread: threading.Thread) -> None:
        waited = time.monotonic()
        self._awaited.set()
        thread.join()
        self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        self.seconds = max(0.0, min(waited, self._ended, self._paused_at or waited) - self._began)

    def start(self, side: SideStream) -> None:
        """Run the step in a second thread, computing on `side`."""
        # The job's id in the log is a context variable.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run, side), name="concurrent stage", daemon=True)
        self._began = time.monotonic()
        self._thread.start()

    def raise_if_fatal(self) -> None:
        """Raise the step's failure where it concerns the whole job."""
        if isinstance(self._failure, Stopped | GpuBroken):
            raise self._failure

    def pause(self) -> bool:
        """Make the step give its unused GPU memory back and wait until its result is asked for; whether it was at work."""
        if self._thread is None or self._paused.is_set() or not self._thread.is_alive():
            return False
        log.warning("out of GPU memory: the concurrent stage pauses and goes on afterwards")
        self._pause.set()
        while self._thread.is_alive() and not self._paused.wait(PAUSE_CHECK_S):
            continue
        release_memory()
        return True

    def wait_alone(self) -> bool:
        """Called by the step when memory does not suffice: wait until the other stages are over; whether there were any."""
        if self._thread is None or self._awaited.is_set():
            return False
        log.warning("out of GPU memory in the concurrent stage: it waits for the end of the others")
        self._hold()
        return True

    def close(self) -> None:
        """Stop the step and wait for its thread."""
        self._stop.set()
        self._awaited.set()
        if self._thread is not None:
            self._thread.join()

    def _hold(self) -> None:
        """In the second thread: give unused memory back and sleep until the result is asked for, or not wanted any more."""
        release_memory()
        self._paused_at = self._paused_at or time.monotonic()
        self._paused.set()
        self._awaited.wait()
        if self._stop.is_set():
            raise _NotWanted

    def _run(self, side: SideStream) -> None:
        try:
            with side.second(), gpu_faults():
                self._result = self._step(Monitor(self._stopped, self._report))
        # A library's sys.exit too: the job's own thread must learn of it.
        except BaseException as error:
            _forget_frames(error)
            self._failure = error
        self._ended = time.monotonic()

    def _stopped(self) -> None:
        if self._stop.is_set():
            raise _NotWanted
        if self._pause.is_set() and not self._awaited.is_set():
            self._hold()
        self._context.stopped()

    def _report(self, fraction: float) -> None:
        # Until the result is asked for, the progress that a caller sees is that of the other stages.
        if self._awaited.is_set():
            self._context.progress.tick(fraction)


class StageExecutor:
    """`with StageExecutor(context, side) as executor: future = executor.submit(step) ... future.result()`

    After the block nothing of a step runs. Without `side`, and where it has no room, a step runs when its result is asked
    for. One step at a time.
    """

    def __init__(self, context: JobContext, side: SideStream | None) -> None:
        self._context = context
        self._side = side
        self._future: StepFuture[Any] | None = None

    def __enter__(self) -> StageExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._future is not None:
            self._future.close()

    @property
    def busy(self) -> bool:
        """Whether a second thread has a step whose result was not taken yet."""
        return self._future is not None and self._future.concurrent

    def submit(self, step: Callable[[Monitor], Result]) -> StepFuture[Result]:
        """Hand over a step: it runs concurrently where there is room for it. It gets a monitor of its own."""
        future = StepFuture(self._context, step)
        self._future = future
        if self._side is not None and self._side.has_room():
            future.start(self._side)
        return future

    def raise_if_fatal(self) -> None:
        """For the other stages: raise what the step met and what concerns the whole job."""
        if self._future is not None:
            self._future.raise_if_fatal()

    def pause(self) -> bool:
        """For the other stages, when the GPU's memory does not suffice: let the step wait; whether it was at work."""
        return self._future is not None and self._future.pause()

    def wait_alone(self) -> bool:
        """For the step itself: wait until the other stages are over; whether there was anything to wait for."""
        return self._future is not None and self._future.wait_alone()


class _NotWanted(BaseException):
    """The step's result is not wanted any more."""


def _forget_frames(error: BaseException) -> None:
    """Empty the frames that the exception holds: what they have on the GPU would stay there as long as it."""
    held: BaseException | None = error
    while held is not None:
        traceback.clear_frames(held.__traceback__)
        held = held.__cause__ or held.__context__
