"""One at a time, in the order of arrival: whoever waits may leave the queue, and leaves no hole in it."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from scribe.runtime.monitor import UNWATCHED, Monitor

# How long a job that waits may not notice that it was stopped; a turn itself begins as soon as the one before it ends.
CHECK_S = 0.2


class FairLock:
    """`with turnstile.turn(check): ...` is entered by one thread at a time, first come, first served.

    `check` is called every `check_s` seconds of waiting, never without waiting; what it raises ends the wait.
    """

    def __init__(self, check_s: float = CHECK_S) -> None:
        self._check_s = check_s
        self._guard = threading.Lock()
        # The first has its turn; each Event is set when its owner becomes the first.
        self._queue: deque[threading.Event] = deque()

    @contextlib.contextmanager
    def turn(self, monitor: Monitor = UNWATCHED) -> Iterator[None]:
        """Wait for one's turn and hold it for the block. Raises what stops `monitor`."""
        mine = threading.Event()
        with self._guard:
            self._queue.append(mine)
            self._queue[0].set()
        try:
            while not mine.wait(self._check_s):
                monitor.raise_if_stopped()
            yield
        finally:
            with self._guard:
                self._queue.remove(mine)
                if self._queue:
                    self._queue[0].set()

    @property
    def waiting(self) -> int:
        """How many are in the queue, the one that has its turn left out."""
        with self._guard:
            return max(0, len(self._queue) - 1)

    @property
    def taken(self) -> bool:
        """Whether somebody has the turn."""
        with self._guard:
            return bool(self._queue)
