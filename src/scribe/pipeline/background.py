"""One stage of a job in a second thread, beside the stages before it: it shares their fate and outlives none of them."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from scribe.errors import GpuBroken, Stopped
from scribe.pipeline.overlap import SideStream
from scribe.pipeline.stages import Stages
from scribe.runtime.gpu_errors import gpu_faults
from scribe.runtime.gpu_memory import release_memory

log = logging.getLogger(__name__)
Result = TypeVar("Result")
Tick = Callable[[float | None], None]
# How long the end of the work may go unnoticed by who waits for its pause.
PAUSE_CHECK_S = 0.05


class BackgroundStage(Generic[Result]):
    """`with BackgroundStage(stages, lane) as companion: companion.begin(work) ... companion.result()`

    After the block nothing of it runs. Without a lane, and where the lane has no room, it never begins.
    """

    def __init__(self, stages: Stages, lane: SideStream | None) -> None:
        self._stages = stages
        self._lane = lane
        self._thread: threading.Thread | None = None
        self._told, self._pause, self._paused, self._awaited = (threading.Event() for _ in range(4))
        self._found: Result | None = None
        self._failure: BaseException | None = None
        self._began = self._ended = 0.0
        self._paused_at: float | None = None
        self.seconds = 0.0

    def __enter__(self) -> BackgroundStage[Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def begin(self, work: Callable[[Tick], Result]) -> None:
        """Start `work`, unless there is no room for it. It gets a tick that raises once it is to stop."""
        if self._lane is None or not self._lane.has_room():
            return
        # The job's id in the log is a context variable.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run, self._lane, work), name="companion", daemon=True)
        self._stages.beside = self
        self._began = time.monotonic()
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether `result` has something to give, without waiting."""
        return self._thread is not None and not self._thread.is_alive() and self._failure is None

    def result(self) -> Result | None:
        """What was found, waited for; work that had paused goes on. None when there is nothing: not begun, or stopped.

        Raises what the work raised. `seconds` is then how long it ran beside the stages before.
        """
        if self._thread is None:
            return None
        waited = time.monotonic()
        self._awaited.set()
        self._thread.join()
        failure, self._failure = self._failure, None
        self._stop()
        if failure is not None:
            raise failure
        self.seconds = max(0.0, min(waited, self._ended, self._paused_at or waited) - self._began)
        return self._found

    def check(self) -> None:
        """For the stages beside: raise what concerns the whole job."""
        if isinstance(self._failure, Stopped | GpuBroken):
            raise self._failure

    def give_way(self) -> bool:
        """For the stages beside, when the GPU's memory does not suffice: pause until it is waited for, nothing lost.

        Whether it was still at work.
        """
        if self._thread is None or self._paused.is_set() or not self._thread.is_alive():
            return False
        log.warning("out of GPU memory: what runs beside pauses and goes on afterwards")
        self._pause.set()
        while self._thread.is_alive() and not self._paused.wait(PAUSE_CHECK_S):
            continue
        release_memory()
        return True

    def wait_alone(self) -> bool:
        """For the work itself, when memory does not suffice beside other stages: pause until they are over.

        Whether there was anything to wait for.
        """
        if self._awaited.is_set():
            return False
        log.warning("out of GPU memory beside other stages: waiting for their end")
        self._hold()
        return True

    def _hold(self) -> None:
        """In the second thread: give the unused memory back and sleep until the work is waited for, or stopped."""
        release_memory()
        self._paused_at = self._paused_at or time.monotonic()
        self._paused.set()
        self._awaited.wait()
        if self._told.is_set():
            raise _Told

    def _stop(self) -> None:
        self._told.set()
        self._awaited.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = self._stages.beside = None

    def _run(self, lane: SideStream, work: Callable[[Tick], Result]) -> None:
        try:
            with lane.second(), gpu_faults():
                self._found = work(self._tick)
        # A library's sys.exit too: the job's own thread is to hear of it.
        except BaseException as error:
            _forget(error)
            self._failure = error
        self._ended = time.monotonic()

    def _tick(self, fraction: float | None) -> None:
        if self._told.is_set():
            raise _Told
        if self._pause.is_set() and not self._awaited.is_set():
            self._hold()
        # Until it is waited for, the progress that a person sees is that of the stages beside.
        self._stages.tick(fraction if self._awaited.is_set() else None)


class _Told(BaseException):
    """The work is not wanted any more."""


def _forget(error: BaseException) -> None:
    """Empty the frames that the exception holds: what is on the GPU would stay there as long as it."""
    held: BaseException | None = error
    while held is not None:
        traceback.clear_frames(held.__traceback__)
        held = held.__cause__ or held.__context__
