"""Run one step of a job in a second thread while the job's own thread runs other stages; always joined."""

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
# Seconds between checks, while waiting for a step to pause, whether it has ended instead.
PAUSE_CHECK_S = 0.05


class StepFuture(Generic[Result]):
    """The result of a submitted step, created by StageExecutor.

    `seconds` is how long the step ran concurrently, before its result was waited for; 0 if it did not.
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
        """Whether a second thread runs the step and its result was not taken yet."""
        return self._thread is not None

    @property
    def done(self) -> bool:
        """Whether `result` returns at once."""
        ended = self._thread is not None and not self._thread.is_alive()
        return self._taken or (ended and self._failure is None)

    def result(self) -> Result:
        """Wait for the step's result; a paused step continues. Raises what the step raised.

        If no second thread runs the step, or it failed there and the result is asked for again, the step runs in the
        caller's thread.
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
        # Copied because the job's id in the log is a context variable.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run, side), name="concurrent stage", daemon=True)
        self._began = time.monotonic()
        self._thread.start()

    def raise_if_fatal(self) -> None:
        """Raise the step's failure if it ends the whole job (Stopped, GpuBroken)."""
        if isinstance(self._failure, Stopped | GpuBroken):
            raise self._failure

    def pause(self) -> bool:
        """Make a running step release its unused GPU memory and wait until its result is asked for; return whether it was running."""
        if self._thread is None or self._paused.is_set() or not self._thread.is_alive():
            return False
        log.warning("out of GPU memory: the concurrent stage pauses and goes on afterwards")
        self._pause.set()
        while self._thread.is_alive() and not self._paused.wait(PAUSE_CHECK_S):
            continue
        release_memory()
        return True

    def wait_alone(self) -> bool:
        """Called by the step when it is out of memory: wait until the other stages have ended; return whether there were any."""
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
        """In the second thread: release unused memory and wait until the result is asked for. Raises _NotWanted on close."""
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
        # BaseException, because a library's sys.exit must reach the job's own thread too.
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
        # Until the result is asked for, the job reports the progress of the other stages.
        if self._awaited.is_set():
            self._context.progress.tick(fraction)


class StageExecutor:
    """Runs one step at a time concurrently: `with StageExecutor(context, side) as executor: executor.submit(step).result()`.

    Leaving the block stops the step and joins its thread. Without `side`, or if it has no room, the step runs when its
    result is asked for.
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
        """Whether a second thread runs a step whose result was not taken yet."""
        return self._future is not None and self._future.concurrent

    def submit(self, step: Callable[[Monitor], Result]) -> StepFuture[Result]:
        """Submit a step, called with a Monitor; it runs concurrently if there is room, else when its result is asked for."""
        future = StepFuture(self._context, step)
        self._future = future
        if self._side is not None and self._side.has_room():
            future.start(self._side)
        return future

    def raise_if_fatal(self) -> None:
        """For the other stages: raise the step's failure if it ends the whole job."""
        if self._future is not None:
            self._future.raise_if_fatal()

    def pause(self) -> bool:
        """For the other stages, when out of GPU memory: pause the step; return whether it was running."""
        return self._future is not None and self._future.pause()

    def wait_alone(self) -> bool:
        """For the step itself: wait until the other stages have ended; return whether there was anything to wait for."""
        return self._future is not None and self._future.wait_alone()


class _NotWanted(BaseException):
    """The step's result is no longer needed."""


def _forget_frames(error: BaseException) -> None:
    """Clear the frames in the exception's traceback, because their tensors would stay on the GPU as long as it lives."""
    held: BaseException | None = error
    while held is not None:
        traceback.clear_frames(held.__traceback__)
        held = held.__cause__ or held.__context__
